"""The plans, in the two databases: the same questions, the same answers."""

import datetime
import uuid
from dataclasses import dataclass
from typing import Protocol

from bson import ObjectId
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool
from pymongo import MongoClient, ReturnDocument
from pymongo.client_session import ClientSession


@dataclass(frozen=True)
class Plan:
    id: str
    user_id: str
    title: str
    status: str
    summary: str | None


class Plans(Protocol):
    """What the application asks. It does not know which database answers."""

    def one(self, plan: ObjectId) -> Plan | None: ...

    def of_user(self, user: str) -> list[Plan]: ...


class MongoPlans:
    """The plans in MongoDB, which still takes every write."""

    def __init__(self, client: MongoClient, database: str):
        # What a majority has is never rolled back, so PostgreSQL never has more than MongoDB.
        self._plans = client.get_database(database).get_collection("plans")

    def one(self, plan: ObjectId) -> Plan | None:
        document = self._plans.find_one({"_id": plan})
        return document and self._plan(document)

    def of_user(self, user: str) -> list[Plan]:
        return [self._plan(document) for document in self._plans.find({"userId": user}).sort("_id", 1)]

    def add(self, user: str, title: str, session: ClientSession) -> Plan:
        now = datetime.datetime.now(datetime.timezone.utc)
        document = {
            "_id": ObjectId(),
            "userId": user,
            "title": title,
            "status": "draft",
            "createdAt": now,
            "updatedAt": now,
        }
        self._plans.insert_one(document, session=session)
        return self._plan(document)

    def summarize(self, plan: ObjectId, summary: str, session: ClientSession) -> Plan | None:
        now = datetime.datetime.now(datetime.timezone.utc)
        document = self._plans.find_one_and_update(
            {"_id": plan},
            {"$set": {"summary": summary, "updatedAt": now}},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        return document and self._plan(document)

    @staticmethod
    def _plan(document: dict) -> Plan:
        return Plan(
            id=str(document["_id"]),
            user_id=document["userId"],
            title=document["title"],
            status=document["status"],
            summary=document.get("summary"),
        )


class PostgresPlans:
    """The plans in PostgreSQL, where the mapping has put them: an ObjectId is the end of a UUID there."""

    _COLUMNS = (
        "SELECT right(replace(id::text, '-', ''), 24) AS id, user_id::text, title, status, summary FROM app.plans"
    )

    def __init__(self, pool: ConnectionPool):
        self._pool = pool

    def one(self, plan: ObjectId) -> Plan | None:
        with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Plan)) as cursor:
            return cursor.execute(f"{self._COLUMNS} WHERE id = %s", [uuid.UUID(f"{plan!s:0>32}")]).fetchone()

    def of_user(self, user: str) -> list[Plan]:
        with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Plan)) as cursor:
            return cursor.execute(f"{self._COLUMNS} WHERE user_id = %s ORDER BY id", [uuid.UUID(user)]).fetchall()
