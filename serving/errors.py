"""What serving may answer instead of a prediction, and the one table that maps it to HTTP."""

from http import HTTPStatus

from training.package.errors import UserError


class RequestError(UserError):
    """A request that gets no prediction. Each subclass has its status in `HTTP_STATUS`."""

    @property
    def headers(self) -> dict[str, str]:
        """Response headers beyond the usual ones."""
        return {}


class MalformedRequest(RequestError):
    """The bytes cannot be read: not JSON, a wrong header, binary sizes that do not add up."""


class BadInput(RequestError):
    """The request can be read, but the model cannot take what it says."""


class UnknownPath(RequestError):
    """No such path."""


class UnknownModel(RequestError):
    """No model of this name, or no such version of it."""


class WrongMethod(RequestError):
    """The path exists, the method does not."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.args = (message, allowed)  # Ray pickles an exception as its class and its arguments
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """`Allow`, which the HTTP standard demands beside a 405."""
        return {"Allow": self.allowed}


class PayloadTooLarge(RequestError):
    """The body is over the limit."""


class UnsupportedEncoding(RequestError):
    """The body is compressed, which only costs time for tensors."""


class ModelNotReady(RequestError):
    """The model is known, but nothing healthy answers for it right now."""


class NoKey(RequestError):
    """A raw value of personal data, and no key here to pseudonymise it with as training did."""


class Overloaded(RequestError):
    """Too many requests are in flight in this replica."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.args = (message, retry_after_s)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """When to come back."""
        return {"Retry-After": str(self.retry_after_s)}


HTTP_STATUS: dict[type[RequestError], HTTPStatus] = {
    MalformedRequest: HTTPStatus.BAD_REQUEST,
    BadInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownPath: HTTPStatus.NOT_FOUND,
    UnknownModel: HTTPStatus.NOT_FOUND,
    WrongMethod: HTTPStatus.METHOD_NOT_ALLOWED,
    PayloadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedEncoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ModelNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    NoKey: HTTPStatus.SERVICE_UNAVAILABLE,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
}


class RegistryError(UserError):
    """A name, version or alias that the registry does not have, or a registry that cannot be used."""


class DeployError(UserError):
    """A release that could not be brought up."""

    exit_code = 1


class NotEnoughResources(UserError):
    """The cluster can never hold what was asked for."""

    exit_code = 3


class ClientError(UserError):
    """The endpoint refused a request, or did not answer."""

    exit_code = 1
