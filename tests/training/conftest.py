"""An object store that several rooms write to and read from."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def s3_options() -> Iterator[str]:
    """A real S3 API on the loopback with the bucket `data`: the options of a URI that lead there."""
    import boto3  # loads only for tests that need it
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        _, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="data")
        yield f"?endpoint_override=http://127.0.0.1:{port}&scheme=http&region=us-east-1"
        server.stop()
