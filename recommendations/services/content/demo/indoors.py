"""The drawings of the demo that show something indoors. The name of a function is that of the picture."""

from __future__ import annotations

import math

from recommendations.services.content.demo.canvas import (
    COOL,
    HEIGHT,
    WARM,
    WIDTH,
    Canvas,
    draw_room,
    mix,
    ring_points,
)

# --- the kitchen and the workshop


def draw_loaf(canvas: Canvas) -> None:
    draw_room(canvas)
    crust = canvas.rng.choice(("#b8783a", "#a5642c", "#c68a48", "#8c5226"))
    x, width, height = canvas.between(210, 270), canvas.between(130, 165), canvas.between(75, 100)
    canvas.rect(x - 200, 246, 400, 18, "#8a6142", rx=8)
    canvas.ellipse(x, 248, width + 6, 12, "#000", opacity=0.15)
    canvas.path(
        f"M{x - width} 248C{x - width} {248 - height * 1.4:.0f} {x + width} {248 - height * 1.4:.0f} {x + width} 248Z",
        crust,
    )
    cuts = canvas.rng.randint(2, 4)
    for cut in range(cuts):
        cx = x - width * 0.5 + cut * width / max(cuts - 1, 1)
        canvas.line(f"M{cx - 16:.0f} {248 - height * 0.5:.0f}q10 -26 30 -34", mix(crust, "#fff3d9", 0.7), 11)
    for _ in range(24):
        canvas.circle(
            canvas.between(x - 90, x + 90), canvas.between(248 - height * 0.8, 235), 2, "#fdf3df", opacity=0.7
        )


def draw_rolls(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.light.table)
    canvas.rect(45, 35, 390, 250, "#5c6066", rx=16)
    canvas.rect(57, 47, 366, 226, "#f1e7d3", rx=8)
    crust, is_seeded = canvas.rng.choice(("#c98b45", "#b8743a", "#d79f58")), canvas.rng.random() < 0.6
    for row in range(3):
        for column in range(4):
            x, y = 108 + column * 88 + canvas.between(-5, 5), 88 + row * 72 + canvas.between(-4, 4)
            canvas.ellipse(x, y, 37, 29, mix(crust, "#6b3d18", canvas.rng.random() * 0.35))
            canvas.line(f"M{x - 20} {y}q20 -13 40 0", "#f6e2bd", 5)
            if is_seeded and (row + column) % 2:
                for _ in range(7):
                    canvas.circle(x + canvas.between(-22, 22), y + canvas.between(-16, 16), 2, "#2d2a2a")


def draw_cup(canvas: Canvas) -> None:
    draw_room(canvas)
    x, color = canvas.between(180, 300), canvas.rng.choice((*WARM, *COOL, "#f6f1e7"))
    canvas.ellipse(x, 262, 112, 20, mix(color, "#ffffff", 0.45))
    canvas.circle(x + 74, 200, 28, "none", stroke=color, stroke_width=13)
    canvas.path(f"M{x - 72} 160h144q-4 98 -50 98h-44q-46 0 -50 -98Z", color)
    canvas.ellipse(x, 160, 72, 17, mix(color, "#000000", 0.2))
    canvas.ellipse(x, 163, 62, 12, "#4a2c19")
    for steam in range(canvas.rng.randint(2, 3)):
        canvas.line(f"M{x - 30 + steam * 30} 138q-14 -22 0 -40t0 -40", "#fff", 6, opacity=0.6)
    canvas.rect(x - 150, 252, 46, 7, "#c9ccd0", rx=3)


def draw_beans(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, mix(canvas.light.wall, canvas.light.table, 0.4))
    canvas.circle(canvas.between(330, 420), canvas.between(60, 110), 78, mix(canvas.light.table, "#ffffff", 0.5))
    for _ in range(canvas.rng.randint(26, 40)):
        x, y, turn = canvas.between(10, 470), canvas.between(10, 310), canvas.between(0, 180)
        turned = {"transform": f"rotate({turn} {x} {y})"}
        canvas.ellipse(x, y, 24, 16, canvas.rng.choice(("#5a3520", "#6d4226", "#452616", "#7d5231")), **turned)
        canvas.line(f"M{x - 20} {y}q10 -7 20 0t20 0", "#26130a", 3, **turned)


def draw_vase(canvas: Canvas) -> None:
    draw_room(canvas)
    x, color = canvas.between(190, 290), canvas.rng.choice((*COOL, *WARM))
    belly, neck = canvas.between(56, 86), canvas.between(18, 30)
    for twig in range(canvas.rng.randint(0, 4)):
        reach = canvas.between(-70, 70)
        canvas.line(f"M{x} 100q{reach / 2:.0f} -30 {reach} -{50 + twig * 10}", "#4d5b3a", 4)
        canvas.circle(x + reach, 50 - twig * 10, 9, canvas.rng.choice(WARM))
    d = f"M{x - neck} 96C{x - neck} 150 {x - belly} 150 {x - belly} 200S{x - 40} 262 {x - 34} 262H{x + 34}"
    canvas.path(f"{d}S{x + belly} 250 {x + belly} 200S{x + neck} 150 {x + neck} 96Z", color)
    canvas.ellipse(x, 96, neck, 7, mix(color, "#000000", 0.35))
    drip = mix(color, "#f6f1e0", 0.65)
    canvas.path(
        f"M{x - belly + 4} 180q16 {canvas.between(10, 44)} 30 4t{belly * 0.8:.0f} 4t{belly * 0.5:.0f} -4"
        f"q-30 -34 -{belly} -34t-{belly * 0.7:.0f} 30Z",
        drip,
        opacity=0.7,
    )


def draw_bowls(canvas: Canvas) -> None:
    draw_room(canvas)
    x, y = canvas.between(200, 280), 262
    for bowl in range(canvas.rng.randint(3, 5)):
        color = canvas.rng.choice((*COOL, *WARM, "#efe6d2", "#8c8577"))
        width = 112 - bowl * 9
        canvas.path(
            f"M{x - width} {y - 52}Q{x - width * 0.8:.0f} {y} {x - 34} {y}"
            f"H{x + 34}Q{x + width * 0.8:.0f} {y} {x + width} {y - 52}Z",
            color,
        )
        canvas.ellipse(x, y - 52, width, 11, mix(color, "#ffffff", 0.3))
        y -= 36


def draw_stool(canvas: Canvas) -> None:
    draw_room(canvas)
    canvas.rect(0, 270, WIDTH, 50, mix(canvas.light.table, "#000000", 0.25))
    x, wood = canvas.between(190, 290), canvas.rng.choice(("#b98a54", "#8f5f38", "#d0a873", "#6f4a31"))
    top = canvas.between(110, 140)
    for foot, lean in ((x - 84, -60), (x + 84, 60), (x + 8, 4)):
        canvas.line(f"M{x + lean * 0.7:.0f} {top + 8}L{foot} 296", mix(wood, "#000000", 0.2), 15)
    canvas.line(f"M{x - 66} 222H{x + 66}", mix(wood, "#000000", 0.3), 8)
    canvas.ellipse(x, top + 9, 106, 22, mix(wood, "#000000", 0.3))
    canvas.ellipse(x, top, 106, 22, wood)
    for ring in range(3):
        canvas.ellipse(
            x + 12, top, 76 - ring * 24, 14 - ring * 4, "none", stroke=mix(wood, "#000000", 0.25), stroke_width=2
        )


def draw_boards(canvas: Canvas) -> None:
    for board in range(4):
        wood, y = canvas.rng.choice(("#c69a63", "#b07f4a", "#d6b280", "#96663c")), board * 80
        dark = mix(wood, "#3b2412", 0.4)
        canvas.rect(0, y, WIDTH, 78, wood)
        for grain in range(4):
            bend = canvas.between(-14, 14)
            left = y + 12 + grain * 18
            canvas.line(
                f"M0 {left}Q160 {left + bend} 300 {y + 14 + grain * 17}T480 {left}",
                dark,
                2,
            )
        if canvas.rng.random() < 0.7:
            x = canvas.between(60, 420)
            for size in (26, 17, 8):
                canvas.ellipse(x, y + 39, size, size * 0.7, wood if size == 17 else dark)
        canvas.rect(0, y + 78, WIDTH, 4, "#3b2412")


def draw_yarn(canvas: Canvas) -> None:
    draw_room(canvas)
    x, size, color = canvas.between(190, 290), canvas.between(72, 92), canvas.rng.choice((*WARM, *COOL))
    for tip in (-1, 1):
        canvas.line(f"M{x - tip * 90} {270 - size * 0.2:.0f}L{x + tip * 110} {canvas.between(40, 80)}", "#d8c19a", 8)
        canvas.circle(x - tip * 90, 270 - size * 0.2, 9, "#8a5a3a")
    y = 270 - size
    canvas.circle(x, y, size, color)
    for arc in range(7):
        turned = {"transform": f"rotate({arc * 51} {x} {y})", "opacity": 0.5}
        canvas.line(
            f"M{x - size * 0.8:.0f} {y - 10}q{size * 0.8:.0f} -{size * 0.6:.0f} {size * 1.6:.0f} 0",
            mix(color, "#ffffff", 0.6),
            4,
            **turned,
        )
    canvas.line(f"M{x + size * 0.7:.0f} {y + size * 0.7:.0f}q60 30 {canvas.between(60, 110)} 0t90 20", color, 6)


def draw_pattern(canvas: Canvas) -> None:
    first, second, third = canvas.rng.sample((*WARM, *COOL, "#f3ecdc", "#2e3440"), 3)
    canvas.rect(0, 0, WIDTH, HEIGHT, first)
    height = canvas.rng.choice((16, 22, 28))
    for row in range(-1, 8):
        y, color = row * 48 + 24, (second, third)[row % 2]
        d = f"M0 {y}" + "".join(f"l24 {-height}l24 {height}" for _ in range(10))
        canvas.path(d, stroke=color, stroke_width=canvas.rng.choice((7, 11, 15)))
    for column in range(20):
        canvas.rect(column * 24, 0, 2, HEIGHT, "#000", opacity=0.08)


# --- cats


def draw_window(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.light.wall)
    canvas.rect(90, 24, 300, 236, "#fff")
    bands = 6
    for band in range(bands):
        canvas.rect(102, 36 + band * 35, 276, 212 - band * 35, mix(*canvas.light.sky, band / (bands - 1)))
    for _ in range(3):
        canvas.ellipse(
            canvas.between(140, 340), 248, canvas.between(40, 70), canvas.between(20, 60), canvas.light.hills[0]
        )
    canvas.rect(102, 248, 276, 12, "#fff")
    canvas.rect(236, 36, 8, 212, "#fff")
    canvas.rect(70, 260, 340, 18, mix(canvas.light.table, "#ffffff", 0.4))
    x, color = canvas.between(150, 330), canvas.rng.choice(("#2b2b30", "#7a6a5a", "#c98a4b", "#8d9299", "#f1ece2"))
    side = canvas.rng.choice((-1, 1))
    canvas.line(f"M{x - side * 34} 250q{-side * 60} 10 {-side * 40} 56", color, 14)
    canvas.path(f"M{x - 44} 262C{x - 52} 190 {x - 24} 160 {x} 158S{x + 52} 190 {x + 44} 262Z", color)
    canvas.circle(x + side * 6, 140, 31, color)
    for ear in (-1, 1):
        canvas.polygon(
            [(x + side * 6 + ear * 29, 130), (x + side * 6 + ear * 25, 92), (x + side * 6 + ear * 4, 114)], color
        )


def draw_sleeping(canvas: Canvas) -> None:
    draw_room(canvas)
    cushion = canvas.rng.choice((*WARM, *COOL))
    canvas.ellipse(240, 258, 190, 44, mix(cushion, "#000000", 0.2))
    canvas.ellipse(240, 246, 182, 40, cushion)
    x, color = canvas.between(220, 260), canvas.rng.choice(("#35353b", "#7a6a5a", "#d0904e", "#8d9299", "#efe7da"))
    dark = mix(color, "#000000", 0.25)
    canvas.ellipse(x, 200, 118, 66, color)
    for stripe in range(canvas.rng.choice((0, 4, 5))):
        canvas.line(f"M{x - 30 + stripe * 26} 142q14 14 6 38", dark, 7)
    side = canvas.rng.choice((-1, 1))
    head = x + side * 74
    canvas.line(f"M{x - side * 100} 224Q{x - side * 10} 286 {x + side * 70} 246", dark, 20)
    canvas.circle(head, 206, 40, color, stroke=dark, stroke_width=3)
    for ear in (-1, 1):
        canvas.polygon([(head + ear * 36, 194), (head + ear * 32, 152), (head + ear * 6, 172)], color)
        canvas.line(f"M{head + ear * 16 - 8} 206q8 8 16 0", "#1d1d20", 3)
    canvas.circle(head, 218, 4, "#d98a8a")


# --- the desk and the wall


def draw_board(canvas: Canvas) -> None:
    light, dark = canvas.rng.choice((("#f0d9b5", "#a9744f"), ("#eceadf", "#6f8f72"), ("#e9e4d8", "#5f7f9c")))
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.light.table)
    canvas.rect(88, 8, 304, 304, mix(dark, "#000000", 0.5))
    for row in range(8):
        for column in range(8):
            canvas.rect(96 + column * 36, 16 + row * 36, 36, 36, dark if (row + column) % 2 else light)
    squares = canvas.rng.sample(range(64), canvas.rng.randint(6, 12))
    for place, square in enumerate(squares):
        x, y = 114 + square % 8 * 36, 34 + square // 8 * 36
        fill, edge = ("#fbf7ee", "#2b2724") if place % 2 else ("#2b2724", "#fbf7ee")
        outline = {"stroke": edge, "stroke_width": 1.5}
        canvas.path(f"M{x - 11} {y + 14}q8 -10 5 -20h12q-3 10 5 20Z", fill, **outline)
        if place < 2:
            canvas.path(f"M{x - 9} {y - 6}l2 -10l4 5l3 -7l3 7l4 -5l2 10Z", fill, **outline)
        else:
            canvas.circle(x, y - 8, 7, fill, **outline)


def draw_king(canvas: Canvas) -> None:
    draw_room(canvas)
    for column in range(8):
        canvas.polygon(
            [(column * 80 - 80, 320), (column * 80 - 40, 320), (column * 60, 236), (column * 60 - 30, 236)],
            "#2b2724",
            opacity=0.35,
        )
    color, other = canvas.rng.choice((("#f6efe0", "#2f2a28"), ("#2f2a28", "#f6efe0"), ("#8c3b2e", "#f6efe0")))
    edge = {"stroke": mix(color, "#7a6a55", 0.6), "stroke_width": 2}
    x = canvas.between(200, 280)
    canvas.path(f"M{x - 48} 286q34 -60 20 -150h56q-14 90 20 150Z", color, **edge)
    canvas.path(f"M{x - 38} 136q-8 -40 0 -52q38 -18 76 0q8 12 0 52Z", color, **edge)
    canvas.rect(x - 4, 40, 8, 44, color, **edge)
    canvas.rect(x - 16, 52, 32, 8, color, **edge)
    for side in (-1, 1):
        px, fill = x + side * canvas.between(120, 160), canvas.rng.choice((color, other))
        canvas.path(f"M{px - 32} 292q24 -34 14 -66h36q-10 32 14 66Z", fill, **edge)
        canvas.circle(px, 208, 23, fill, **edge)


def draw_shelf(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.light.wall)
    for shelf in range(2):
        floor, x = 150 + shelf * 150, 14.0
        while x < 440:
            width, height, color = (
                canvas.between(14, 34),
                canvas.between(74, 122),
                canvas.rng.choice((*WARM, *COOL, "#e9dfc8", "#33373d")),
            )
            turn = canvas.rng.choice((0, 0, 0, 0, -6))
            canvas.rect(x, floor - height, width, height, color, transform=f"rotate({turn} {x} {floor})")
            if turn == 0:
                canvas.rect(x + 3, floor - height + 14, width - 6, 5, "#fff", opacity=0.5)
            x += width + 2 - turn
        canvas.rect(0, floor, WIDTH, 13, canvas.light.table)
        canvas.rect(0, floor + 13, WIDTH, 5, "#000", opacity=0.15)


def draw_reading(canvas: Canvas) -> None:
    draw_room(canvas)
    lamp, color = canvas.between(90, 390), canvas.rng.choice((*WARM, *COOL))
    canvas.polygon([(lamp - 40, 92), (lamp + 40, 92), (lamp + 190, 262), (lamp - 190, 262)], "#fff3c4", opacity=0.5)
    canvas.rect(lamp - 3, 0, 6, 50, "#3a3a3a")
    canvas.path(f"M{lamp - 52} 94q6 -50 52 -50t52 50Z", color)
    x = canvas.between(190, 290)
    canvas.path(
        f"M{x} 266Q{x - 70} 236 {x - 140} 256V176Q{x - 70} 156 {x} 186"
        f"Q{x + 70} 156 {x + 140} 176V256Q{x + 70} 236 {x} 266Z",
        "#fbf6e9",
        stroke="#8a6d4f",
        stroke_width=5,
    )
    canvas.line(f"M{x} 188v74", "#b9a583", 3)
    for row in range(5):
        for side in (-1, 1):
            canvas.line(
                f"M{x + side * 18} {200 + row * 12}q{side * 50} -16 {side * canvas.between(80, 104)} -{6 + row}",
                "#a39a8a",
                2,
            )


def draw_camera(canvas: Canvas) -> None:
    draw_room(canvas)
    x, color = canvas.between(200, 280), canvas.rng.choice(("#2c2d31", "#5a3d2b", "#3d4f49", "#6e2f2f"))
    canvas.rect(x - 52, 104, 84, 30, "#b9bcc0", rx=5)
    canvas.rect(x - 120, 118, 30, 14, "#8d9095", rx=4)
    canvas.rect(x - 140, 128, 280, 138, color, rx=14)
    canvas.rect(x - 140, 128, 280, 34, "#c9ccd0", rx=12)
    for size, fill in (
        (62, "#9a9da3"),
        (53, "#1f2023"),
        (38, mix(canvas.rng.choice(COOL), "#101018", 0.5)),
        (20, "#14161c"),
    ):
        canvas.circle(x, 206, size, fill)
    canvas.circle(x - 14, 190, 9, "#fff", opacity=0.6)
    canvas.rect(x + 86, 136, 34, 18, mix(canvas.light.sun, "#ffffff", 0.3), rx=3)


def draw_film(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, mix(canvas.light.wall, "#ffffff", 0.3))
    tone = canvas.rng.choice(("#c9843f", "#8e9aa6", "#b86d4f", "#6f8a7a"))
    for strip in range(3):
        y = 14 + strip * 102
        canvas.rect(0, y, WIDTH, 90, "#26201c")
        for edge in (9, 81):
            canvas.path(f"M6 {y + edge}H480", stroke="#efe8da", stroke_width=8, stroke_dasharray="12 13")
        for frame in range(4):
            x = frame * 122 - 20 + strip * 14
            canvas.rect(x, y + 18, 112, 54, mix(tone, "#f3e6cf", canvas.rng.random() * 0.6))
            canvas.circle(
                x + canvas.between(20, 92), y + canvas.between(28, 44), canvas.between(6, 11), "#fff", opacity=0.75
            )
            peak = canvas.between(28, 84)
            canvas.polygon(
                [(x, y + 72), (x + peak, y + canvas.between(36, 56)), (x + 112, y + 72)], mix(tone, "#1d1611", 0.6)
            )


def draw_guitar(canvas: Canvas) -> None:
    draw_room(canvas)
    x, wood = canvas.between(180, 300), canvas.rng.choice(("#c98442", "#a5562c", "#d9a860", "#7d3f2a"))
    turned = {"transform": f"rotate({canvas.between(-16, 16)} {x} 280)"}
    canvas.rect(x - 9, 14, 18, 140, "#4a3222", **turned)
    canvas.rect(x - 15, 2, 30, 26, "#3a2619", **turned)
    canvas.circle(x, 162, 44, wood, **turned)
    canvas.circle(x, 232, 62, wood, **turned)
    canvas.circle(x, 184, 21, "#2a1a10", stroke="#f0d9a8", stroke_width=4, **turned)
    canvas.rect(x - 26, 246, 52, 9, "#3a2619", **turned)
    for string in range(-2, 3):
        canvas.rect(x + string * 3.4 - 0.5, 20, 1, 230, "#f6efdc", **turned)


def draw_vinyl(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.light.table)
    canvas.rect(40, 20, 400, 280, mix(canvas.light.wall, "#ffffff", 0.3), rx=14)
    canvas.circle(205, 160, 126, "#1b1b1f")
    for groove in range(6):
        canvas.circle(205, 160, 118 - groove * 12, "none", stroke="#3a3a42", stroke_width=1.5)
    color = canvas.rng.choice((*WARM, *COOL))
    canvas.circle(205, 160, 44, color)
    canvas.path(
        f"M205 160L{canvas.between(300, 325)} {canvas.between(90, 120)}A126 126 0 0 1 331 160Z", "#fff", opacity=0.12
    )
    canvas.rect(canvas.between(180, 195), 134, canvas.between(26, 48), 6, mix(color, "#ffffff", 0.7))
    canvas.circle(205, 160, 5, "#f5f0e6")
    canvas.line(f"M396 60L380 190L{canvas.between(290, 320)} {canvas.between(200, 230)}", "#7d8187", 8)
    canvas.circle(396, 60, 20, "#4a4d52")


def draw_contours(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, mix(canvas.light.wall, "#e9efd2", 0.6))
    color = canvas.rng.choice(("#b07a45", "#8f6f4e", "#a3583c", "#5c7a5a"))
    for _ in range(3):
        x, y, wobble = (
            canvas.between(60, 420),
            canvas.between(50, 270),
            [canvas.rng.uniform(0.75, 1.25) for _ in range(12)],
        )
        for level in range(6):
            points = ring_points(x, y, [(24 + level * 20) * w for w in wobble])
            shade = mix("#dfe8c4", "#c9a06a", (5 - level) / 6)
            canvas.polygon(points, shade, fill_opacity=0.28, stroke=color, stroke_width=2, stroke_linejoin="round")
    river = f"M{canvas.between(0, 200)} 0Q{canvas.between(100, 380)} 140 {canvas.between(200, 480)} 320"
    canvas.line(river, "#4f93b8", 7)
    start = canvas.between(20, 120)
    canvas.line(
        f"M0 {start}Q200 {canvas.between(100, 300)} 480 {canvas.between(40, 280)}",
        "#c23b2e",
        4,
        stroke_dasharray="12 9",
    )
    canvas.path("M430 24l11 30l-11 -7l-11 7Z", "#333")


def draw_compass(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, mix(canvas.light.wall, "#d9c9a3", 0.4))
    for step in range(1, 12):
        canvas.line(f"M{step * 40} 0V320M0 {step * 40}H480", "#b8a67c", 1, opacity=0.6)
    coast = f"M0 {canvas.between(180, 300)}Q120 {canvas.between(150, 260)} 200 {canvas.between(240, 310)}"
    canvas.path(f"{coast}T480 {canvas.between(200, 300)}V320H0Z", "#8fb3ad", opacity=0.7)
    color, x, y = canvas.rng.choice(WARM), canvas.between(200, 280), canvas.between(140, 175)
    canvas.circle(x, y, 122, "#f8f1de", stroke="#5b4a33", stroke_width=5)
    canvas.polygon(ring_points(x, y, [60, 20] * 4, math.pi / 4), mix(color, "#f8f1de", 0.55))
    canvas.polygon(ring_points(x, y, [112, 26] * 4), color)
    needle = {"transform": f"rotate({canvas.between(-40, 40)} {x} {y})"}
    canvas.polygon([(x, y - 88), (x - 10, y), (x + 10, y)], "#22313f", **needle)
    canvas.polygon([(x, y + 88), (x - 10, y), (x + 10, y)], "#e9e4d6", **needle)
    canvas.circle(x, y, 8, "#5b4a33")
