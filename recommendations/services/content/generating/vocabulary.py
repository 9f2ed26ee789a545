# ruff: noqa: E501
"""The vocabulary of generated posts: topics and, in each language, a few words per topic."""

TOPICS = (
    "music", "film", "football", "cooking", "travel", "science",
    "gardening", "gaming", "fashion", "photography", "books", "pets",
)  # fmt: skip

EMOJI = ("🎵", "🎬", "⚽", "🍳", "✈️", "🔬", "🌱", "🎮", "👗", "📷", "📚", "🐾")

LANGUAGES = ("en", "de", "es", "fr", "ar", "ja")
LANGUAGE_SHARES = (0.55, 0.12, 0.12, 0.09, 0.07, 0.05)
REGIONS = (("US", "GB", "IN", "NG"), ("DE", "AT"), ("ES", "MX", "AR"), ("FR", "SN"), ("EG", "MA"), ("JP",))
"""Regions per language; the first is the most common."""

OPENERS = {
    "en": ("Today I learned about", "A quiet evening with", "Who else loves", "My thoughts on", "Finally:",
           "Ten years of", "Don't miss", "Looking for"),
    "de": ("Heute geht es um", "Ein Abend mit", "Wer mag auch", "Endlich:"),
    "es": ("Hoy hablamos de", "Una tarde con", "¿A quién le gusta", "Por fin:"),
    "fr": ("Aujourd'hui :", "Une soirée avec", "Qui aime aussi", "Enfin :"),
    "ar": ("اليوم عن", "أمسية مع", "من يحب أيضا"),
    "ja": ("今日は", "夜のひととき:", "みんな大好き"),
}  # fmt: skip

WORDS = {
    "en": (
        ("guitar", "concert", "melody", "drums", "vinyl", "jazz", "chorus", "festival", "piano", "rehearsal"),
        ("director", "scene", "screenplay", "actor", "premiere", "trailer", "cinema", "plot", "sequel", "camera"),
        ("goal", "penalty", "league", "striker", "derby", "keeper", "stadium", "coach", "transfer", "midfield"),
        ("recipe", "garlic", "oven", "simmer", "flour", "dinner", "spices", "knife", "sauce", "broth"),
        ("train", "island", "passport", "hostel", "mountain", "itinerary", "beach", "border", "luggage", "map"),
        ("experiment", "galaxy", "protein", "theory", "telescope", "quantum", "lab", "fossil", "climate", "data"),
        ("tomatoes", "soil", "compost", "seeds", "pruning", "roses", "greenhouse", "harvest", "bees", "shade"),
        ("console", "quest", "boss", "multiplayer", "patch", "speedrun", "level", "controller", "indie", "loot"),
        ("denim", "runway", "fabric", "tailor", "sneakers", "vintage", "collection", "silk", "pattern", "coat"),
        ("aperture", "portrait", "lens", "exposure", "tripod", "film roll", "contrast", "sunset", "studio", "print"),
        ("novel", "chapter", "author", "library", "poem", "bookshop", "translation", "hero", "paperback", "essay"),
        ("puppy", "kitten", "leash", "vet", "adoption", "parrot", "aquarium", "treats", "paws", "shelter"),
    ),
    "de": (
        ("Gitarre", "Konzert", "Melodie", "Schlagzeug", "Chor"), ("Regisseur", "Szene", "Kino", "Drehbuch", "Premiere"),
        ("Tor", "Elfmeter", "Stadion", "Trainer", "Abseits"), ("Rezept", "Knoblauch", "Ofen", "Suppe", "Gewürze"),
        ("Zug", "Insel", "Reisepass", "Berge", "Strand"), ("Versuch", "Galaxie", "Teleskop", "Theorie", "Klima"),
        ("Tomaten", "Erde", "Kompost", "Samen", "Ernte"), ("Konsole", "Endgegner", "Spielstand", "Level", "Mission"),
        ("Stoff", "Mantel", "Schneider", "Laufsteg", "Seide"), ("Blende", "Porträt", "Objektiv", "Stativ", "Abzug"),
        ("Roman", "Kapitel", "Bibliothek", "Gedicht", "Buchladen"), ("Welpe", "Katze", "Leine", "Tierarzt", "Futter"),
    ),
    "es": (
        ("guitarra", "concierto", "melodía", "coro", "batería"), ("director", "escena", "cine", "guion", "estreno"),
        ("gol", "penalti", "estadio", "liga", "portero"), ("receta", "ajo", "horno", "sopa", "especias"),
        ("tren", "isla", "pasaporte", "montaña", "playa"), ("experimento", "galaxia", "telescopio", "teoría", "clima"),
        ("tomates", "tierra", "compost", "semillas", "cosecha"), ("consola", "jefe final", "partida", "nivel", "misión"),
        ("tela", "abrigo", "sastre", "pasarela", "seda"), ("apertura", "retrato", "lente", "trípode", "revelado"),
        ("novela", "capítulo", "biblioteca", "poema", "librería"), ("cachorro", "gatito", "correa", "veterinario", "refugio"),
    ),
    "fr": (
        ("guitare", "concert", "mélodie", "chorale", "batterie"), ("réalisateur", "scène", "cinéma", "scénario", "avant-première"),
        ("but", "pénalty", "stade", "gardien", "entraîneur"), ("recette", "ail", "four", "soupe", "épices"),
        ("train", "île", "passeport", "montagne", "plage"), ("expérience", "galaxie", "télescope", "théorie", "climat"),
        ("tomates", "terreau", "compost", "graines", "récolte"), ("console", "boss", "partie", "niveau", "quête"),
        ("tissu", "manteau", "tailleur", "défilé", "soie"), ("ouverture", "portrait", "objectif", "trépied", "tirage"),
        ("roman", "chapitre", "bibliothèque", "poème", "librairie"), ("chiot", "chaton", "laisse", "vétérinaire", "refuge"),
    ),
    "ar": (
        ("غيتار", "حفلة", "لحن"), ("مخرج", "مشهد", "سينما"), ("هدف", "ملعب", "حارس"), ("وصفة", "ثوم", "فرن"),
        ("قطار", "جزيرة", "شاطئ"), ("تجربة", "مجرة", "تلسكوب"), ("طماطم", "تربة", "بذور"), ("لعبة", "مرحلة", "مهمة"),
        ("قماش", "معطف", "حرير"), ("عدسة", "صورة", "ضوء"), ("رواية", "فصل", "مكتبة"), ("قطة", "جرو", "طبيب بيطري"),
    ),
    "ja": (
        ("ギター", "コンサート", "旋律"), ("監督", "映画館", "脚本"), ("ゴール", "試合", "監督"), ("レシピ", "にんにく", "味噌汁"),
        ("電車", "島", "温泉"), ("実験", "銀河", "望遠鏡"), ("トマト", "土", "種"), ("ゲーム機", "ボス", "冒険"),
        ("生地", "コート", "着物"), ("レンズ", "写真", "三脚"), ("小説", "章", "図書館"), ("子犬", "猫", "動物病院"),
    ),
}  # fmt: skip


POST_KINDS = ("text", "image", "video", "link")
POST_KIND_SHARES = (0.5, 0.3, 0.12, 0.08)

SAFETY_LABELS = ("violence", "nudity", "self_harm", "hate")
SAFETY_LABEL_SHARES = (0.02, 0.02, 0.004, 0.006)
"""Share of posts per label. A post has at most one label."""
