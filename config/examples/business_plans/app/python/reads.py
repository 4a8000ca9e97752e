"""Decides where a request reads: where driftless says, and never behind what its own session has written."""

import logging
from collections.abc import Callable
from typing import TypeVar

import psycopg
import psycopg_pool
import requests
from bson import ObjectId, Timestamp
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext

from plans import Plans

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

# How long a request waits until PostgreSQL has the write of its session. MongoDB answers after that.
WAIT_MS = 200


class Reads:
    def __init__(
        self,
        flags: OpenFeatureClient,
        driftless: str,
        headers: dict[str, str],
        mongodb: Plans,
        postgresql: Plans,
    ):
        self._flags = flags
        self._applied = f"{driftless}/api/v1/applied"
        self._http = requests.Session()
        self._http.headers.update(headers)
        self._mongodb = mongodb
        self._postgresql = postgresql

    def read(
        self,
        user: str,
        written: Timestamp | None,
        question: Callable[[Plans], Answer],
        plan: ObjectId | None = None,
    ) -> tuple[Answer, str]:
        """Asks the database that the flag names for this user; returns its name with the answer.

        `written` is the time of the last write of the session, and `plan` the only document that the question is about.
        """
        if self._wants_postgresql(user) and self._holds(written, plan):
            try:
                return question(self._postgresql), "postgresql"
            except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
                logger.warning("PostgreSQL does not answer, MongoDB does: %s", type(error).__name__)
        return question(self._mongodb), "mongodb"

    def _wants_postgresql(self, user: str) -> bool:
        # MongoDB is the default: without an answer of driftless, and for every unknown flag.
        side = self._flags.get_string_value("reads.plans", "mongodb", EvaluationContext(targeting_key=user))
        return side == "postgresql"

    def _holds(self, written: Timestamp | None, plan: ObjectId | None) -> bool:
        """Read your writes: whether PostgreSQL has everything up to the last write of the session."""
        if written is None:
            return True
        question = {"collection": "plans", "at": f"{written.time}.{written.inc}", "wait": f"{WAIT_MS}ms"}
        if plan is not None:
            question["id"] = str(plan)
        try:
            return self._http.get(self._applied, params=question, timeout=1).status_code == 200
        except requests.RequestException:
            return False
