"""A run behind HTTP: JSON in and out, described by an OpenAPI document.

`application` makes the FastAPI application, onto which a page may be mounted; `serve` runs it until it is told to stop.
What this needs is the extra `studio`; nothing here is imported before it is asked for.
"""

from genat.studio.application import application
from genat.studio.limits import Limits
from genat.studio.service import Service
from genat.studio.serving import serve

__all__ = ["Limits", "Service", "application", "serve"]
