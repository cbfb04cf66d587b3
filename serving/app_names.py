"""How Serve's applications are called. Models carry a prefix, so none can be mistaken for the front."""

FRONT = "front"
_MODEL = "model-"


def app_of(name: str) -> str:
    """The application that serves a model."""
    return _MODEL + name


def model_of(app: str) -> str | None:
    """The model that an application serves; None for the front and for what is not ours."""
    return app.removeprefix(_MODEL) if app.startswith(_MODEL) else None
