"""The HTTP API and the web page as one ASGI application; docs/serving.md describes both.

It knows no Ray: it writes jobs into the database and reads how they are.
"""

from importlib.util import find_spec

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from deployments import avatar_routes
from deployments.access import SafeHeaders
from deployments.problems import install_problems
from deployments.service import Known, Service
from deployments.uploads import BodyLimit
from deployments.web_page import page_routes
from pipeline import __version__

health = APIRouter()


def create_api(service: Service) -> FastAPI:
    """The application: the API below /v1, and the web page at "/"."""
    limits = service.backend.options
    api = FastAPI(
        title="headsplat",
        version=__version__,
        description="A portrait photo in, a full-head 3D Gaussian avatar out.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        telemetry={"auto_configure": _can_export(), "logs": False},  # logs would quote bodies
    )
    api.state.service = service
    api.add_middleware(BodyLimit, most_mb=limits.max_photos * limits.max_photo_mb + 1)
    api.add_middleware(SafeHeaders)
    install_problems(api)
    api.include_router(health, prefix="/v1/health", tags=["health"])
    api.include_router(avatar_routes.routes, prefix="/v1/avatars", tags=["avatars"])
    api.include_router(page_routes())
    return api


def _can_export() -> bool:
    """Whether the extra ``otel`` is installed; variables of its own say where traces go."""
    return find_spec("opentelemetry.exporter") is not None and (
        find_spec("opentelemetry.exporter.otlp") is not None
    )


@health.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@health.get("/ready", responses={503: {"description": "Models are still being loaded."}})
async def ready(service: Known) -> JSONResponse:
    """The models are loaded and jobs are being run."""
    missing = await service.not_ready()
    if missing:
        headers = {"Retry-After": "2"}
        return JSONResponse({"status": "loading", "missing": missing}, 503, headers)
    return JSONResponse({"status": "ready"})
