"""How pages show dates and times in German: with the time zone. The other formats are Django's."""

DATE_FORMAT = "j. F Y"
DATETIME_FORMAT = "j. F Y, H:i e"
SHORT_DATE_FORMAT = "d.m.Y"
SHORT_DATETIME_FORMAT = "d.m.Y, H:i e"
TIME_FORMAT = "H:i"
