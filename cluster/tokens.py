"""Ray's authentication token of this user, for clusters that are named by their address."""

import os

from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

from cluster.errors import ClusterError


def use_token_if_there_is_one() -> None:
    """Send the token along, as Ray does by itself only to a cluster that it found on this machine.

    RAY_AUTH_MODE, where it is set, has the last word.
    """
    # Private, yet the only way: Ray reads RAY_AUTH_MODE once, when it is imported.
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def refused(address: str) -> ClusterError:
    """The error for a missing or wrong token."""
    sent = "and refuses ours" if os.environ.get("RAY_AUTH_MODE") == "token" else "and there is none here"
    return ClusterError(
        f"{address} wants an authentication token, {sent}",
        "put the cluster's token into ~/.ray/auth_token (`ray get-auth-token` prints it there), "
        "or its path into RAY_AUTH_TOKEN_PATH",
    )
