"""The rival of the cold start: the same service, importing TensorFlow and building the Keras model at start."""

from __future__ import annotations

from api.app import AnnApp
from api.app import create_app as create_lazy_app


def create_app() -> AnnApp:
    """Build the Keras model, without reading weights from a file, then the app."""
    from efficientnet.tfkeras import EfficientNetB0

    EfficientNetB0(include_top=False, weights=None, input_shape=(224, 224, 3), pooling="max")
    return create_lazy_app()
