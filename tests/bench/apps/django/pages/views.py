import markdown
from django.http import HttpRequest, HttpResponse

EDITION = "edition 0"


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<!doctype html><title>A Django app</title>" + markdown.markdown(EDITION) + "\n")
