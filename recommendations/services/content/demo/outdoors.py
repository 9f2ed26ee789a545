"""The drawings of the demo that show something outdoors. The name of a function is that of the picture."""

from __future__ import annotations

import math

from recommendations.services.content.demo.canvas import (
    COOL,
    HEIGHT,
    WARM,
    WIDTH,
    Canvas,
    draw_landscape,
    draw_ridge,
    draw_sea,
    draw_sky,
    draw_stars,
    draw_sun,
    draw_tree,
    mix,
    ring_points,
)

# --- the sky, the weather and landscapes


def draw_moon(canvas: Canvas) -> None:
    draw_sky(canvas, "#0f1b3d", canvas.rng.choice(("#34406e", "#4a3f6b", "#2d5468")))
    draw_stars(canvas, 50)
    x, y, radius = canvas.between(90, 390), canvas.between(60, 130), canvas.between(30, 46)
    side = canvas.rng.choice((0, 1))
    d = f"M{x} {y - radius}A{radius} {radius} 0 1 {side} {x} {y + radius}"
    canvas.path(f"{d}A{radius * 1.4:.0f} {radius * 1.4:.0f} 0 0 {1 - side} {x} {y - radius}Z", "#f7efcf")
    draw_ridge(canvas, 270, 60, "#141b33")
    draw_ridge(canvas, 300, 40, "#0a0f1f")


def draw_saturn(canvas: Canvas) -> None:
    draw_sky(canvas, "#0b1030", canvas.rng.choice(("#1d2a55", "#37244f", "#123a4a")))
    draw_stars(canvas, 80)
    x, y, radius = canvas.between(170, 310), canvas.between(120, 200), canvas.between(52, 72)
    color, turn = canvas.rng.choice(WARM), canvas.between(-30, 30)
    ring = {"stroke": mix(color, "#ffffff", 0.55), "stroke_width": 9, "transform": f"rotate({turn} {x} {y})"}
    canvas.ellipse(x, y, radius * 1.9, radius * 0.5, "none", **ring)
    canvas.circle(x, y, radius, color)
    for band in (-0.45, 0.05, 0.5):
        canvas.ellipse(x, y + radius * band, radius * 0.85, radius * 0.1, mix(color, "#ffffff", 0.25))
    front = f"M{x - radius * 1.9:.0f} {y}A{radius * 1.9:.0f} {radius * 0.5:.0f} 0 0 0 {x + radius * 1.9:.0f} {y}"
    canvas.path(front, **ring)


def draw_summit(canvas: Canvas) -> None:
    draw_sky(canvas)
    draw_sun(canvas)
    x, y = canvas.between(170, 310), canvas.between(50, 90)
    canvas.polygon([(x, y), (x - 210, 300), (x + 210, 300)], canvas.light.hills[1])
    canvas.polygon(
        [(x, y), (x - 58, y + 66), (x - 24, y + 54), (x, y + 78), (x + 22, y + 52), (x + 56, y + 64)], "#fff"
    )
    draw_ridge(canvas, 270, 80, canvas.light.hills[0], is_sharp=True)
    draw_ridge(canvas, 305, 60, canvas.light.hills[2], is_sharp=True)


def draw_lake(canvas: Canvas) -> None:
    draw_sky(canvas)
    draw_sun(canvas, 50, 80)
    peaks = [(x, canvas.between(70, 130)) for x in (60, 180, 300, 420)]
    for x, y in peaks:
        canvas.polygon([(x, y), (x - 120, 190), (x + 120, 190)], canvas.light.hills[1])
        canvas.polygon([(x, y), (x - 22, y + 20), (x, y + 30), (x + 22, y + 20)], "#fff", opacity=0.9)
    water = mix(canvas.light.sky[0], "#1f7a8c", 0.6)
    draw_sea(canvas, 190, water)
    for x, y in peaks:
        reflection = [(x, 190 + (190 - y) * 0.8), (x - 120, 190), (x + 120, 190)]
        canvas.polygon(reflection, canvas.light.hills[2], opacity=0.35)
    for _ in range(5):
        draw_tree(canvas, canvas.between(0, WIDTH), canvas.between(300, 325), canvas.between(70, 110), "#24493f")


def draw_rain(canvas: Canvas) -> None:
    draw_sky(canvas, mix(canvas.light.sky[0], "#3f4d5c", 0.6), canvas.light.sky[1])
    draw_ridge(canvas, 280, 40, canvas.light.hills[1])
    for _ in range(46):
        x, y = canvas.between(60, 430), canvas.between(140, 290)
        canvas.line(f"M{x} {y}l-7 20", "#e8f1f6", 2, opacity=0.7)
    color = canvas.rng.choice(("#4b5563", "#586174", "#3d4a55"))
    for x, y, radius in ((140, 120, 48), (205, 90, 62), (280, 95, 56), (340, 122, 44), (240, 130, 50)):
        canvas.circle(x + canvas.between(-10, 10), y + canvas.between(-8, 8), radius, color)
    draw_ridge(canvas, 308, 26, canvas.light.hills[2])


def draw_rainbow(canvas: Canvas) -> None:
    draw_sky(canvas, mix(canvas.light.sky[0], "#5b6b7d", 0.45), canvas.light.sky[1])
    x, radius = canvas.between(160, 320), canvas.between(190, 230)
    for band, color in enumerate(("#d9483b", "#e8873a", "#f0c93f", "#5aa25a", "#3f78b5", "#6f4f9e")):
        canvas.circle(x, 290, radius - band * 9, "none", stroke=color, stroke_width=9, opacity=0.75)
    draw_ridge(canvas, 250, 30, canvas.light.hills[0])
    for row in range(3):
        draw_ridge(canvas, 275 + row * 20, 16, (*canvas.light.hills[1:], "#c9b458")[row])


def draw_migration(canvas: Canvas) -> None:
    draw_sky(canvas)
    draw_sun(canvas, 150, 210)
    x, y = canvas.between(180, 300), canvas.between(40, 80)
    for bird in range(1, canvas.rng.randint(12, 18)):
        side = 1 if bird % 2 else -1
        bx, by = x + side * bird * 11, y + bird * 9 + canvas.between(-4, 4)
        canvas.line(f"M{bx - 12} {by - 4:.0f}q6 -8 12 4q6 -12 12 -4", "#2d2f3a", 3)
    draw_ridge(canvas, 275, 30, canvas.light.hills[1])
    for _ in range(28):
        reed = canvas.between(0, WIDTH)
        canvas.line(f"M{reed} 320q4 -30 {canvas.between(-6, 12)} -{canvas.between(40, 80)}", canvas.light.hills[2], 3)


def draw_road(canvas: Canvas) -> None:
    draw_landscape(canvas)
    draw_ridge(canvas, 255, 15, canvas.light.hills[2])
    bend, end = canvas.between(60, 420), canvas.between(180, 300)
    d = f"M150 320C{bend} 280 {480 - bend} 250 {end} 215L{end + 8} 215C{500 - bend} 250 {bend + 90} 280 330 320Z"
    canvas.path(d, "#5d6066")
    middle = f"M240 318C{bend + 40} 280 {490 - bend} 250 {end + 4} 218"
    canvas.line(middle, "#f4ead2", 3, stroke_dasharray="12 12")
    for _ in range(4):
        x = canvas.rng.choice((canvas.between(0, 110), canvas.between(370, 480)))
        draw_tree(
            canvas, x, canvas.between(270, 315), canvas.between(50, 80), mix(canvas.light.hills[2], "#1d3b2f", 0.5)
        )


def draw_trail(canvas: Canvas) -> None:
    draw_sky(canvas)
    draw_ridge(canvas, 220, 40, canvas.light.hills[0])
    canvas.rect(0, 225, WIDTH, 95, canvas.light.hills[1])
    turn = canvas.between(-80, 80)
    canvas.path(
        f"M170 320C{230 + turn} 285 {210 - turn} 250 238 222h8C{240 - turn} 250 {300 + turn} 285 310 320Z", "#c8a878"
    )
    for row in range(3):
        for x in (canvas.between(0, 150), canvas.between(330, 480), canvas.between(20, 120), canvas.between(360, 460)):
            color = mix(canvas.light.hills[2], "#17352b", canvas.rng.random() * 0.6)
            draw_tree(canvas, x, 240 + row * 34, 90 + row * 40, color)


def draw_track(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, mix(canvas.light.hills[1], "#5b9a4f", 0.6))
    color = canvas.rng.choice(("#b5532f", "#a8452f", "#c46a3c", "#3f6f94"))
    x, y = canvas.between(-60, 40), canvas.between(330, 380)
    canvas.circle(x, y, 330, color)
    for lane in range(1, 6):
        canvas.circle(x, y, 330 - lane * 34, "none", stroke="#f6ede0", stroke_width=3)
    canvas.circle(x, y, 126, mix(canvas.light.hills[1], "#5b9a4f", 0.6))
    angle = canvas.between(-70, -25)
    canvas.rect(x + 128, y - 2, 200, 5, "#f6ede0", transform=f"rotate({angle} {x} {y})")


# --- water


def draw_sailboat(canvas: Canvas) -> None:
    draw_sky(canvas)
    draw_sun(canvas)
    draw_ridge(canvas, 205, 24, canvas.light.hills[0])
    draw_sea(canvas, 200, mix(canvas.light.sky[0], "#1d5f86", 0.7))
    x, y, color = canvas.between(150, 330), canvas.between(225, 250), canvas.rng.choice(WARM)
    canvas.rect(x - 2, y - 150, 4, 150, "#5a4636")
    canvas.polygon([(x + 5, y - 145), (x + 5, y - 15), (x + 78, y - 15)], "#fbf7ec")
    canvas.polygon([(x - 5, y - 130), (x - 5, y - 15), (x - 56, y - 15)], color)
    canvas.path(f"M{x - 75} {y - 6}h160l-24 30h-112Z", canvas.rng.choice(COOL))


def draw_lighthouse(canvas: Canvas) -> None:
    draw_sky(canvas)
    draw_sun(canvas)
    draw_sea(canvas, 230, mix(canvas.light.sky[0], "#245a73", 0.7))
    x = canvas.between(130, 340)
    canvas.path(f"M{x - 150} 320C{x - 110} 240 {x - 60} 235 {x} 235S{x + 90} 250 {x + 130} 320Z", "#5d564c")
    color = canvas.rng.choice(WARM)
    for stripe in range(5):
        top, fill = 90 + stripe * 30, color if stripe % 2 else "#faf5ea"
        left, right = 20 + stripe * 3, 23 + stripe * 3
        canvas.polygon([(x - left, top), (x + left, top), (x + right, top + 30), (x - right, top + 30)], fill)
    canvas.rect(x - 26, 82, 52, 8, "#3d3a37")
    canvas.rect(x - 14, 58, 28, 24, "#fff0b3")
    canvas.polygon([(x - 20, 58), (x + 20, 58), (x, 38)], color)
    side = canvas.rng.choice((-1, 1))
    canvas.polygon([(x, 70), (x + side * 300, 30), (x + side * 300, 110)], "#fff0b3", opacity=0.4)


def add_pool(canvas: Canvas) -> None:
    """Draw wet rock around clear water, with pebbles and weed."""
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.rng.choice(("#6b6a63", "#5f6468", "#75695c")))
    radii = [canvas.between(150, 215) for _ in range(9)]
    points = ring_points(240, 165, radii)
    shape = [(240 + (x - 240) * 1.05, 165 + (y - 165) * 0.72) for x, y in points]
    canvas.polygon(shape, mix(canvas.light.sky[0], "#2a8c8c", 0.65), stroke="#3f4441", stroke_width=10)
    for _ in range(16):
        color = canvas.rng.choice(("#c9bda2", "#8d8577", "#a79a86", "#7c8a80"))
        canvas.ellipse(
            canvas.between(110, 370), canvas.between(110, 230), canvas.between(6, 14), canvas.between(4, 9), color
        )
    for _ in range(7):
        x, y = canvas.between(90, 390), canvas.between(90, 250)
        canvas.line(f"M{x} {y}q{canvas.between(-20, 20)} -18 {canvas.between(-8, 8)} -38", "#3c6b3f", 6)


def draw_starfish(canvas: Canvas) -> None:
    add_pool(canvas)
    x, y, size = canvas.between(190, 290), canvas.between(140, 190), canvas.between(52, 74)
    color = canvas.rng.choice(("#d9622b", "#c8443c", "#e0a03a", "#8a4fa0"))
    arms = ring_points(x, y, [size, size * 0.36] * 5, canvas.rng.uniform(-2, 0))
    canvas.polygon(arms, color, stroke=color, stroke_width=16, stroke_linejoin="round")
    for px, py in ring_points(x, y, [size * 0.6] * 5, math.atan2(arms[0][1] - y, arms[0][0] - x)):
        canvas.circle(px, py, 4, mix(color, "#ffffff", 0.5))
    canvas.circle(x, y, 6, mix(color, "#ffffff", 0.5))


def draw_crab(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, mix(canvas.light.wall, "#cbb58d", 0.7))
    canvas.path(
        f"M0 0H480V{canvas.between(40, 90)}Q360 {canvas.between(60, 120)} 240 70T0 {canvas.between(50, 100)}Z",
        "#7fb0b8",
    )
    for _ in range(30):
        canvas.circle(canvas.between(0, 480), canvas.between(110, 315), canvas.between(2, 4), "#a58f68")
    x, y, color = canvas.between(190, 290), canvas.between(180, 220), canvas.rng.choice(WARM)
    for side in (-1, 1):
        for leg in range(3):
            canvas.line(f"M{x + side * 45} {y + leg * 12}q{side * 30} -16 {side * 46} {14 + leg * 8}", color, 8)
        canvas.line(f"M{x + side * 40} {y - 18}q{side * 34} -12 {side * 40} -40", color, 10)
        canvas.circle(x + side * 84, y - 66, canvas.between(15, 24), color)
        canvas.polygon(
            [(x + side * 84, y - 66), (x + side * 74, y - 96), (x + side * 94, y - 96)],
            mix(canvas.light.wall, "#cbb58d", 0.7),
        )
        canvas.circle(x + side * 16, y - 40, 7, "#fff")
        canvas.circle(x + side * 16, y - 41, 4, "#222")
    canvas.ellipse(x, y, 62, 40, color)
    canvas.ellipse(x, y - 10, 44, 20, mix(color, "#ffffff", 0.2))


# --- animals and plants


def draw_robin(canvas: Canvas) -> None:
    draw_sky(canvas, canvas.light.sky[1], canvas.light.wall)
    for _ in range(6):
        canvas.circle(
            canvas.between(0, 480), canvas.between(0, 300), canvas.between(30, 70), canvas.light.hills[0], opacity=0.35
        )
    y = canvas.between(225, 245)
    canvas.line(f"M0 {y + 20}Q220 {y - 8} 480 {y + canvas.between(-30, 25)}", "#5c4433", 13)
    for _ in range(6):
        x = canvas.between(20, 460)
        canvas.ellipse(x, y - 8, 17, 8, canvas.light.hills[1], transform=f"rotate({canvas.between(-60, 60)} {x} {y})")
    x, color = canvas.between(190, 290), canvas.rng.choice(("#d8622c", "#e09a34", "#c24e3f", "#4f86b0"))
    side = canvas.rng.choice((-1, 1))
    canvas.polygon([(x - side * 40, y - 62), (x - side * 112, y - 26), (x - side * 40, y - 34)], "#5d5348")
    canvas.ellipse(x, y - 54, 58, 46, "#77695a")
    canvas.ellipse(x + side * 18, y - 46, 38, 36, color)
    canvas.circle(x + side * 40, y - 92, 29, "#77695a")
    canvas.circle(x + side * 48, y - 86, 19, color)
    canvas.circle(x + side * 48, y - 98, 4, "#1c1c1c")
    canvas.polygon([(x + side * 66, y - 96), (x + side * 86, y - 90), (x + side * 66, y - 84)], "#e0b04a")
    for leg in (-10, 12):
        canvas.line(f"M{x + leg} {y - 14}v20", "#3f342b", 4)


def draw_toadstool(canvas: Canvas) -> None:
    draw_sky(canvas, canvas.light.hills[0], canvas.light.hills[1])
    for x in (20, 120, 250, 350, 460):
        canvas.rect(x + canvas.between(-20, 20), 0, canvas.between(14, 28), 260, canvas.light.hills[2], opacity=0.6)
    draw_ridge(canvas, 270, 20, "#4d6b3c")
    color = canvas.rng.choice(("#c8352b", "#d94f2a", "#b02a30"))
    for x, size in (
        (canvas.between(150, 260), canvas.between(70, 95)),
        (canvas.between(300, 400), canvas.between(36, 52)),
    ):
        canvas.path(
            f"M{x - size * 0.2:.0f} 295Q{x} 200 {x - size * 0.16:.0f} {280 - size}"
            f"h{size * 0.34:.0f}Q{x} 200 {x + size * 0.3:.0f} 295Z",
            "#f3ead7",
        )
        canvas.path(
            f"M{x - size} {290 - size}A{size} {size * 0.85:.0f} 0 0 1 {x + size} {290 - size}"
            f"Q{x} {310 - size} {x - size} {290 - size}Z",
            color,
        )
        for _ in range(8):
            angle, reach = canvas.rng.uniform(3.5, 5.9), canvas.rng.uniform(0.3, 0.75)
            canvas.circle(
                x + size * reach * math.cos(angle),
                286 - size + size * 0.85 * reach * math.sin(angle),
                size / 13,
                "#fdf6e6",
            )


def draw_forest(canvas: Canvas) -> None:
    draw_sky(canvas, canvas.light.hills[0], canvas.light.wall)
    for shade in range(3):
        for _ in range(5):
            canvas.rect(
                canvas.between(0, 470),
                0,
                canvas.between(8, 14) + shade * 9,
                300,
                mix(canvas.light.hills[0], "#4a3a2c", 0.35 + shade * 0.3),
            )
    draw_ridge(canvas, 275, 30, "#6d5a36")
    for _ in range(canvas.rng.randint(4, 8)):
        x, y, size = canvas.between(30, 450), canvas.between(275, 310), canvas.between(16, 34)
        canvas.rect(x - size * 0.25, y - size, size * 0.5, size, "#ead9b8", rx=5)
        color = canvas.rng.choice(("#8a5a2f", "#a06a38", "#d59b32", "#6e4526"))
        canvas.path(f"M{x - size} {y - size}A{size} {size * 0.8:.0f} 0 0 1 {x + size} {y - size}Z", color)


def draw_tomatoes(canvas: Canvas) -> None:
    draw_sky(canvas, canvas.light.sky[1], mix(canvas.light.hills[0], "#ffffff", 0.3))
    for x in (canvas.between(60, 140), canvas.between(330, 420)):
        canvas.rect(x, 0, 9, 320, "#a58258")
    canvas.line(f"M{canvas.between(180, 300)} 0Q{canvas.between(120, 340)} 150 240 320", "#3f7a3d", 9)
    for _ in range(9):
        x, y = canvas.between(40, 440), canvas.between(20, 300)
        canvas.ellipse(
            x,
            y,
            40,
            17,
            canvas.rng.choice(("#4c8f45", "#5fa453", "#3d7a42")),
            transform=f"rotate({canvas.between(-70, 70)} {x} {y})",
        )
    for _ in range(canvas.rng.randint(5, 8)):
        x, y, size = canvas.between(110, 370), canvas.between(70, 270), canvas.between(24, 38)
        canvas.circle(x, y, size, canvas.rng.choice(("#d23b2b", "#e0562f", "#c42f2f", "#e8a23a", "#8fae4b")))
        canvas.circle(x - size * 0.35, y - size * 0.35, size * 0.2, "#fff", opacity=0.5)
        canvas.polygon(ring_points(x, y - size * 0.8, [12, 4] * 5), "#2f6b35")


def draw_flowers(canvas: Canvas) -> None:
    draw_sky(canvas)
    draw_ridge(canvas, 230, 30, canvas.light.hills[0])
    canvas.rect(0, 262, WIDTH, 58, "#6a4b35")
    for _ in range(canvas.rng.randint(8, 12)):
        x, y, size = canvas.between(25, 455), canvas.between(90, 220), canvas.between(16, 27)
        canvas.line(f"M{x} {y}Q{x + canvas.between(-16, 16)} 240 {x} 290", "#3e7a45", 5)
        canvas.ellipse(x + 13, 245, 18, 7, "#4f9455", transform=f"rotate(-35 {x} 245)")
        color = canvas.rng.choice(("#d6457a", "#e8b23a", "#9c4fb0", "#e2623c", "#f2f0e6", "#5f7fd0"))
        for px, py in ring_points(x, y, [size * 0.75] * canvas.rng.choice((5, 6, 8))):
            canvas.circle(px, py, size * 0.5, color)
        canvas.circle(x, y, size * 0.45, "#f0d060")


def draw_honeycomb(canvas: Canvas) -> None:
    canvas.rect(0, 0, WIDTH, HEIGHT, mix(canvas.light.wall, "#b87a1e", 0.75))
    for row in range(7):
        for column in range(8):
            x, y = column * 66 + (row % 2) * 33, row * 57
            color = canvas.rng.choice(("#e9a52b", "#f2bf4a", "#d98f1c", "#f7d98a", "#8f5a14"))
            canvas.polygon(ring_points(x, y, [33] * 6), color, stroke="#7a4a10", stroke_width=4)
    for _ in range(canvas.rng.randint(1, 3)):
        x, y, turn = canvas.between(70, 410), canvas.between(60, 260), canvas.between(-60, 60)
        turned = {"transform": f"rotate({turn} {x} {y})"}
        for side in (-12, 12):
            canvas.ellipse(x + side, y - 18, 13, 21, "#fff", opacity=0.75, **turned)
        canvas.ellipse(x, y, 32, 19, "#3b2a17", **turned)
        for stripe in (-14, 0, 14):
            canvas.rect(x + stripe - 4, y - 16, 8, 32, "#f0b429", **turned)


def draw_hive(canvas: Canvas) -> None:
    draw_landscape(canvas)
    canvas.rect(0, 262, WIDTH, 58, mix(canvas.light.hills[1], "#6fae55", 0.5))
    for x in (canvas.between(90, 150), canvas.between(270, 330)):
        color = canvas.rng.choice((*WARM, *COOL, "#f1e6c8"))
        for box in range(canvas.rng.choice((2, 3))):
            canvas.rect(x, 236 - box * 42, 96, 40, mix(color, "#ffffff", box * 0.18))
        canvas.rect(x - 6, 224 - box * 42, 108, 13, "#59606a")
        canvas.rect(x + 26, 264, 44, 7, "#2f2418")
        for leg in (8, 78):
            canvas.rect(x + leg, 276, 10, 24, "#6b4f3a")
    for _ in range(9):
        x, y = canvas.between(40, 440), canvas.between(120, 260)
        canvas.ellipse(x, y, 6, 4, "#e3a51f")
        canvas.ellipse(x, y - 5, 4, 3, "#fff", opacity=0.8)


# --- vehicles and buildings


def draw_bicycle(canvas: Canvas) -> None:
    draw_sky(canvas, canvas.light.wall, mix(canvas.light.wall, canvas.light.sun, 0.6))
    canvas.rect(0, 268, WIDTH, 52, canvas.light.table)
    color, x = canvas.rng.choice((*WARM, *COOL)), canvas.between(-30, 30)
    left, right = 135 + x, 345 + x
    for hub in (left, right):
        canvas.circle(hub, 210, 66, "none", stroke="#2b2b2f", stroke_width=8)
        for spoke in range(6):
            canvas.line(f"M{hub - 62} 210H{hub + 62}", "#9a9da3", 1.5, transform=f"rotate({spoke * 30} {hub} 210)")
    seat, pedals, head = (195 + x, 120), (230 + x, 212), (315 + x, 116)
    frame = f"M{left} 210L{seat[0]} {seat[1]}L{pedals[0]} {pedals[1]}ZM{seat[0] + 5} {seat[1] + 12}L{head[0]} {head[1]}"
    canvas.line(f"{frame}L{pedals[0]} {pedals[1]}M{head[0] - 6} 92L{right} 210", color, 9, stroke_linejoin="round")
    canvas.line(f"M{seat[0] - 24} 108h46", "#3a2b20", 12)
    canvas.line(f"M{head[0] - 6} 92h28q12 2 10 18", "#3a2b20", 8)
    canvas.circle(pedals[0], pedals[1], 17, "#55585e")
    if canvas.rng.random() < 0.5:
        canvas.rect(right - 46, 96, 62, 40, "#b98a54", rx=6)


def draw_train(canvas: Canvas) -> None:
    draw_landscape(canvas)
    canvas.rect(0, 252, WIDTH, 68, mix(canvas.light.hills[1], "#c2b280", 0.35))
    canvas.rect(0, 266, WIDTH, 5, "#4a4541")
    color, start = canvas.rng.choice((*WARM, *COOL)), canvas.between(20, 150)
    for car in range(4):
        x = start + car * 118
        canvas.rect(x, 196, 112, 58, color if car else mix(color, "#000000", 0.25), rx=9)
        canvas.rect(x, 232, 112, 7, mix(color, "#ffffff", 0.6))
        for window in range(4):
            canvas.rect(x + 11 + window * 25, 206, 18, 19, canvas.light.sun, rx=3)
        for wheel in (24, 88):
            canvas.circle(x + wheel, 258, 9, "#2b2b2f")
    for pole in range(3):
        x = canvas.between(20, 60) + pole * 170
        canvas.rect(x, 130, 5, 136, "#5d5a55")
        canvas.rect(x, 136, 34, 4, "#5d5a55")
    canvas.line("M0 139Q240 150 480 139", "#5d5a55", 1.5)


def draw_viaduct(canvas: Canvas) -> None:
    draw_landscape(canvas)
    stone, y = canvas.rng.choice(("#a8947c", "#8f8a80", "#b58a6a")), canvas.between(120, 150)
    canvas.rect(0, y, WIDTH, 200, stone)
    width = canvas.rng.choice((68, 80, 96))
    for x in range(0, WIDTH + width, width):
        d = f"M{x + 8} 330V{y + 60}A{width / 2 - 8:.0f} {width / 2 - 8:.0f} 0 0 1 {x + width - 8} {y + 60}V330Z"
        canvas.path(d, canvas.light.hills[0])
    canvas.rect(0, y - 7, WIDTH, 12, mix(stone, "#000000", 0.25))
    color, start = canvas.rng.choice((*WARM, *COOL)), canvas.between(0, 220)
    for car in range(canvas.rng.randint(2, 4)):
        canvas.rect(start + car * 62, y - 36, 58, 29, color, rx=5)
        canvas.rect(start + car * 62 + 8, y - 30, 42, 10, canvas.light.sun)
    draw_ridge(canvas, 305, 40, canvas.light.hills[2])


def draw_facade(canvas: Canvas) -> None:
    draw_sky(canvas)
    colors = canvas.rng.sample(("#d9a05b", "#b5654a", "#7f9c8a", "#c9b79c", "#6f86a6", "#d8c26a", "#a8788a"), 4)
    for house, color in enumerate(colors):
        x, top = house * 120, canvas.between(70, 120)
        canvas.rect(x, top, 120, 300 - top, color)
        canvas.polygon(
            [(x - 4, top), (x + 124, top), (x + 60, top - canvas.between(30, 60))], mix(color, "#402a20", 0.6)
        )
        for row in range(2):
            for column in range(2):
                wx, wy = x + 20 + column * 46, top + 22 + row * 66
                canvas.rect(wx - 4, wy - 4, 38, 48, "#fff8ea")
                pane = canvas.light.sun if canvas.rng.random() < 0.3 else mix(canvas.light.sky[0], "#223044", 0.5)
                canvas.rect(wx, wy, 30, 40, pane)
        canvas.rect(x + 44, 256, 32, 46, canvas.rng.choice((*WARM, *COOL)))
    canvas.rect(0, 298, WIDTH, 22, "#7d7a75")


def draw_bridge(canvas: Canvas) -> None:
    draw_sky(canvas)
    draw_sun(canvas)
    for house in range(9):
        height = canvas.between(50, 110)
        canvas.rect(house * 56 - 10, 210 - height, 54, height, canvas.light.hills[house % 2])
        canvas.polygon(
            [(house * 56 - 12, 210 - height), (house * 56 + 46, 210 - height), (house * 56 + 17, 185 - height)],
            canvas.light.hills[2],
        )
    draw_sea(canvas, 210, mix(canvas.light.sky[0], "#2d5f73", 0.65))
    stone, rise = canvas.rng.choice(("#b09a80", "#948e85", "#a8765a")), canvas.between(150, 175)
    spans = canvas.rng.choice((2, 3))
    canvas.path(f"M0 210Q240 {rise - 40} 480 210V270H0Z", stone)
    for span in range(spans):
        width = WIDTH / spans
        middle = span * width + width / 2
        canvas.path(
            f"M{middle - width * 0.36:.0f} 272A{width * 0.36:.0f} 66 0 0 1 {middle + width * 0.36:.0f} 272Z",
            mix(canvas.light.sky[0], "#2d5f73", 0.65),
        )
    canvas.line(f"M0 207Q240 {rise - 43} 480 207", mix(stone, "#000000", 0.3), 6)
