"""The Ray Serve side of one model. It reads requests, joins them into batches and checks health; no maths here."""

import logging
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from serving.batcher import Arrays, Batcher
from serving.config import BatchSettings
from serving.errors import Overloaded
from serving.http import respond
from serving.predictor import Predictor
from serving.protocol.model import ModelHandler, ModelInfo
from training.package.serve_config import ServeConfig
from training.package.table_reading import table_reading_of

log = logging.getLogger("ray.serve")  # what goes there stands in the replica's own file


class ModelReplica:
    """One replica of one release. Refuses to start on an altered package or on answers that differ from its own."""

    def __init__(self, package: str, name: str, version: str, settings: dict[str, Any], num_threads: int = 1) -> None:
        self._predictor = Predictor.load(Path(package), num_threads=num_threads)
        log.info("%s@%s: %s", name, version, self._predictor.reason)
        self._predictor.self_test()
        call_time = self._predictor.warm_up()
        self._settings = BatchSettings.model_validate(settings)
        self._batcher = Batcher(self._predictor.predict, call_time, self._settings.max_batch_size)
        self._call_time = call_time
        self._num_in_flight = 0
        self._is_healthy = True
        predictor = self._predictor
        table = table_reading_of(Path(package))
        info = ModelInfo(name, version, predictor.manifest, predictor.package.golden, predictor.variant.name, table)
        self._handler = ModelHandler(info, self._predict, lambda: self._is_healthy)
        self.reconfigure(settings)

    def reconfigure(self, settings: dict[str, Any]) -> None:
        """Take new settings without a restart; Serve calls this when only `user_config` has changed."""
        self._settings = BatchSettings.model_validate(settings)
        self._batcher.max_rows = self._settings.max_batch_size
        self._batcher.max_wait_s = self._settings.max_batch_wait_ms / 1000
        self._max_body_bytes = int(self._settings.max_body_mb * 1_000_000)

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        return await respond(request, self._handler.handle, self._max_body_bytes)

    async def _predict(self, inputs: Arrays, num_rows: int) -> Arrays:
        # Counted here and not by Serve, whose refusal is plain text without a time to come back.
        if self._num_in_flight >= self._settings.max_in_flight:
            raise self._overloaded()
        self._num_in_flight += 1
        try:
            # Before requests are joined: one that cannot be pseudonymised must not fail its neighbours.
            return await self._batcher(self._predictor.pseudonymise(inputs), num_rows)
        finally:
            self._num_in_flight -= 1

    def _overloaded(self) -> Overloaded:
        retry_after_s = 1 + int(self._call_time(self._num_in_flight))
        return Overloaded(f"{self._num_in_flight} requests are in flight in this replica, its limit", retry_after_s)

    def check_health(self) -> None:
        """Replay the golden rows; Serve replaces the replica after three failures in a row."""
        self._is_healthy = False
        self._predictor.self_test()
        self._is_healthy = True


def model_app(
    package: Path, name: str, version: str, config: ServeConfig, gpus: float = 0.0
) -> serve.Application:  # fmt: skip
    """The Serve application of one release, whose replicas have so many GPUs each."""
    settings = BatchSettings.of(config).model_dump()
    deployment = serve.deployment(
        name="model",
        user_config=settings,
        # Above our own limit, which answers with a reason and a time to come back; Serve's would only queue.
        max_ongoing_requests=2 * config.max_queued_requests + config.max_batch_size,
        max_constructor_retry_count=1,  # an altered package stays altered: report it instead of trying 20 times
        ray_actor_options={"num_cpus": config.cpus_per_replica, "num_gpus": gpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=config.replicas.min,
            max_replicas=config.replicas.max,
            initial_replicas=config.replicas.min,
            target_ongoing_requests=config.target_ongoing_requests,
        ),
        # HAProxy counts requests and times them; a line in a file for each would cost a tenth of the throughput.
        logging_config=LoggingConfig(enable_access_log=False),
    )
    num_threads = max(1, int(config.cpus_per_replica))
    return deployment(ModelReplica).bind(str(package.resolve()), name, version, settings, num_threads)
