"""Serving: the live release over HTTP, as one plain ASGI callable that any server runs."""

from gbdtlr.serving.application import Application, app

__all__ = ["Application", "app"]
