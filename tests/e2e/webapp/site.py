"""A small Django site: log-in, upload, an answer in parts, events, and a page that tries all of it.

Run as `site.py FOLDER NAME`. Instances that have the same folder are one site. The first line on
standard output is the address; the site ends when its standard input does.
"""

import hashlib
import os
import sys
import threading
import time
from pathlib import Path

import django
from django.conf import settings

FOLDER = Path(sys.argv[1])
NAME = sys.argv[2]
HERE = Path(__file__).parent

settings.configure(
    SECRET_KEY="of the test alone",
    ALLOWED_HOSTS=["acme.localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.sign",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "site.db",
            "OPTIONS": {"timeout": 20},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    MEDIA_ROOT=FOLDER / "uploads",
    LOGIN_REDIRECT_URL="/private/",
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {
                            "registration/login.html": "<form method=post>{% csrf_token %}"
                            "{{ form }}<input type=hidden name=next value={{ next }}></form>"
                        },
                    )
                ]
            },
        }
    ],
)
django.setup()

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

# No browser waits for longer than this, nor does the test.
DEADLINE = 90


def sign(get_response):
    """Middleware: each answer says which instance gave it."""

    def signed(request):
        response = get_response(request)
        response["X-Instance"] = NAME
        return response

    return signed


def page(request):
    return HttpResponse((HERE / "page.html").read_text())


@login_required
def private(request):
    return HttpResponse(f"hello {request.user.username}")


@login_required
def upload(request):
    file = request.FILES["file"]
    return redirect("uploaded", name=default_storage.save(file.name, file))


@login_required
def uploaded(request, name):
    with default_storage.open(name) as file:
        content = file.read()
    return JsonResponse({"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})


def parts(request):
    """Five parts, each sent once the browser has told that it has the one before."""

    def each():
        for number in range(5):
            yield f"part {number}\n"
            wait_for(f"part-{number}")

    return StreamingHttpResponse(each(), content_type="text/plain")


def events(request):
    """Three events after the last that the browser had, each sent once it has the one before."""
    first = int(request.headers.get("Last-Event-ID", "-1")) + 1

    def each():
        yield "retry: 1\n\n"
        for number in range(first, first + 3):
            yield f"id: {number}\ndata: event {number}\n\n"
            wait_for(f"event-{number}")

    return StreamingHttpResponse(each(), content_type="text/event-stream")


@csrf_exempt
def note(request, name):
    """The browser tells how far it is."""
    (FOLDER / name).write_bytes(request.body)
    return HttpResponse(status=204)


def held(request):
    """Answers once the browser has its verdict, so that its page is loaded no sooner."""
    wait_for("verdict")
    return HttpResponse("<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml")


def wait_for(name):
    end = time.monotonic() + DEADLINE
    while not (FOLDER / name).exists() and time.monotonic() < end:
        time.sleep(0.01)


urlpatterns = [
    path("", page),
    path("accounts/login/", LoginView.as_view()),
    path("private/", private),
    path("upload/", upload),
    path("uploads/<name>/", uploaded, name="uploaded"),
    path("parts/", parts),
    path("events/", events),
    path("note/<name>/", note),
    path("held/", held),
]


def prepare():
    """The first instance makes the site's database."""
    if not (FOLDER / "site.db").exists():
        call_command("migrate", verbosity=0)
        User.objects.create_user("ada", password="correct horse")


def end_with_the_test():
    sys.stdin.read()
    os._exit(0)


prepare()
threading.Thread(target=end_with_the_test, daemon=True).start()
server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
server.daemon_threads = True
server.set_app(get_wsgi_application())
print("127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
