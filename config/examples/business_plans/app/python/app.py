"""A business-plan application in the middle of its migration: it writes to MongoDB, and reads where driftless says.

Run it with `python app.py`; the environment variables are those of `main`.
"""

import os
from dataclasses import asdict

from bson import ObjectId, Timestamp
from flask import Flask, abort, jsonify, request
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from psycopg_pool import ConnectionPool
from pymongo import MongoClient
from waitress import serve

from plans import MongoPlans, PostgresPlans
from reads import Reads

# The cookie that carries the time of the session's last write from one request to the next.
WRITTEN = "written"


def create_app(mongo: MongoClient, plans: MongoPlans, reads: Reads) -> Flask:
    app = Flask(__name__)

    def user() -> str:
        # A real application takes it from its login.
        return request.headers.get("X-User") or abort(401)

    def written() -> Timestamp | None:
        seconds, _, increment = request.cookies.get(WRITTEN, "").partition(".")
        return Timestamp(int(seconds), int(increment)) if seconds.isdigit() and increment.isdigit() else None

    def answer(content, side: str):
        response = jsonify(content)
        response.headers["X-Reads"] = side
        return response

    def answer_write(plan, session):
        if plan is None:
            abort(404)
        response = jsonify(asdict(plan))
        time = session.operation_time
        response.set_cookie(WRITTEN, f"{time.time}.{time.inc}", httponly=True, samesite="Lax")
        return response

    @app.get("/plans/<id>")
    def one(id: str):
        plan = ObjectId(id) if ObjectId.is_valid(id) else abort(404)
        found, side = reads.read(user(), written(), lambda plans: plans.one(plan), plan)
        return answer(asdict(found), side) if found else abort(404)

    @app.get("/plans")
    def of_user():
        found, side = reads.read(user(), written(), lambda plans: plans.of_user(user()))
        return answer([asdict(plan) for plan in found], side)

    @app.post("/plans")
    def add():
        with mongo.start_session() as session:
            return answer_write(plans.add(user(), request.json["title"], session), session), 201

    @app.patch("/plans/<id>")
    def summarize(id: str):
        plan = ObjectId(id) if ObjectId.is_valid(id) else abort(404)
        with mongo.start_session() as session:
            return answer_write(plans.summarize(plan, request.json["summary"], session), session)

    return app


def main() -> None:
    driftless = os.environ["DRIFTLESS"]  # such as http://localhost:9464
    token = os.environ.get("DRIFTLESS_TOKEN")  # where http.token_file is set
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    api.set_provider(OFREPProvider(driftless, headers_factory=lambda: headers, timeout=0.5))
    mongo = MongoClient(os.environ["MONGODB"], w="majority", readConcernLevel="majority")
    plans = MongoPlans(mongo, os.environ["MONGODB_DATABASE"])
    # A request does not wait for a PostgreSQL that is away: MongoDB has the answer, too.
    pool = ConnectionPool(
        os.environ["POSTGRESQL"],
        min_size=1,
        max_size=8,
        timeout=0.5,
        open=True,
        check=ConnectionPool.check_connection,
        kwargs={"connect_timeout": 2, "options": "-c statement_timeout=2000"},
    )
    reads = Reads(api.get_client(), driftless, headers, plans, PostgresPlans(pool))
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:8000").rpartition(":")
    serve(create_app(mongo, plans, reads), host=host, port=int(port), threads=8)


if __name__ == "__main__":
    main()
