"""
A font in which each character is the same box, for pictures that do not depend on the fonts of a machine.

A line has the same size on every machine, whatever its script, and two texts of the same length look the same.
"""

import struct

UNITS_PER_EM = 1000
ADVANCE, ASCENT, DESCENT = 500, 800, -200
LEFT, RIGHT, TOP = 50, 450, 600
BLANK_GLYPH, BOX_GLYPH = 1, 2
CHARACTERS = [
    (0x20, 0x20, BLANK_GLYPH),
    (0x21, 0x9F, BOX_GLYPH),
    (0xA0, 0xA0, BLANK_GLYPH),
    (0xA1, 0x10FFFF, BOX_GLYPH),
]


def build_box_font():
    """Return the font as a TrueType file: the bytes of its ten required tables behind their directory."""
    tables = dict(sorted(build_tables().items()))
    power = len(tables).bit_length() - 1
    directory = struct.pack(">I4H", 0x10000, len(tables), 16 << power, power, 16 * (len(tables) - (1 << power)))
    offset, body = len(directory) + 16 * len(tables), b""
    for tag, table in tables.items():
        padded = table + bytes(-len(table) % 4)
        checksum = sum(struct.unpack(f">{len(padded) // 4}I", padded)) & 0xFFFFFFFF
        directory += struct.pack(">4s3I", tag.encode(), checksum, offset + len(body), len(table))
        body += padded
    return directory + body


def build_tables():
    width, height = RIGHT - LEFT, TOP
    glyph = struct.pack(">5h2H", 1, LEFT, 0, RIGHT, TOP, 3, 0) + bytes([1] * 4)
    glyph += struct.pack(">8h", LEFT, width, 0, -width, 0, 0, height, 0) + bytes(2)
    groups = b"".join(struct.pack(">3I", *group) for group in CHARACTERS)
    # Format 13 maps a range of characters to one glyph.
    characters = struct.pack(">4HI2H3I", 0, 1, 3, 10, 12, 13, 0, 16 + len(groups), 0, len(CHARACTERS)) + groups
    return {
        "OS/2": struct.pack(
            ">Hh3H11h10x16x4s3H3h2H2I2h3H",
            *(4, ADVANCE, 400, 5, 0, *[100] * 10, 0, b"NONE", 64, 0x20, 0xFFFF, ASCENT, DESCENT, 0, ASCENT, -DESCENT),
            *(0, 0, TOP, TOP, 0, 0x20, 1),
        ),
        "cmap": characters,
        "glyf": glyph,
        "head": struct.pack(
            ">4I2H16x4h2H3h",
            *(0x10000, 0x10000, 0, 0x5F0F3CF5, 0, UNITS_PER_EM, LEFT, 0, RIGHT, TOP, 0, 8, 2, 0, 0),
        ),
        "hhea": struct.pack(">I3hH11hH", 0x10000, ASCENT, DESCENT, 0, ADVANCE, 0, 0, RIGHT, 1, *[0] * 7, 3),
        "hmtx": struct.pack(">HhHhHh", ADVANCE, 0, ADVANCE, 0, ADVANCE, LEFT),
        "loca": struct.pack(">4H", 0, 0, 0, len(glyph) // 2),
        "maxp": struct.pack(">I14H", 0x10000, 3, 4, 1, 0, 0, 1, *[0] * 8),
        "name": build_names("Boxes"),
        "post": struct.pack(">2I2h5I", 0x30000, 0, -100, 50, *[0] * 5),
    }


def build_names(family):
    encoded = family.encode("utf-16-be")
    records = b"".join(struct.pack(">6H", 3, 1, 0x409, name, len(encoded), 0) for name in (1, 2, 4, 6))
    return struct.pack(">3H", 0, 4, 6 + len(records)) + records + encoded
