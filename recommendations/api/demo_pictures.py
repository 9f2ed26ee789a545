"""The pictures of the demo's posts, drawn on request (`services/content/demo/pictures.py`). They contain no data."""

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from recommendations.services.content.demo.pictures import DRAWINGS, MAX_NUMBER, draw_picture


@require_safe
@cache_control(public=True, max_age=86_400)
def demo_picture(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Return a picture as SVG, to anyone. A picture is drawn in less than a millisecond and has at most 10 KB."""
    if name not in DRAWINGS or number > MAX_NUMBER:
        raise Http404
    return HttpResponse(draw_picture(name, number), content_type="image/svg+xml")
