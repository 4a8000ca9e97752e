#!/usr/bin/env python3
"""Talks to the local servers in their own protocols: waits until they answer.

Called by the script `stack` beside this file. Exit status: 0 ready, 1 not
ready in time, 2 the watched process ended, 3 a port is taken (`ports` only).
"""

import argparse
import os
import socket
import struct
import sys
import time
import urllib.request

HOST = "127.0.0.1"
REPLICA_SET = "rs0"
POLL_SECONDS = 0.1


class NotReady(Exception):
    """The server does not answer as it should yet."""


def receive(connection, size):
    """Reads exactly `size` bytes."""
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise NotReady("the connection was closed")
        data += part
    return data


def probe_postgres(port):
    """Logs in as postgres, waits for ReadyForQuery."""
    fields = b"user\0postgres\0database\0postgres\0\0"
    startup = struct.pack("!ii", 8 + len(fields), 196608) + fields
    with socket.create_connection((HOST, port), timeout=2) as connection:
        connection.sendall(startup)
        while True:
            kind, length = struct.unpack("!ci", receive(connection, 5))
            body = receive(connection, length - 4)
            if kind == b"Z":
                connection.sendall(b"X\0\0\0\4")
                return
            if kind == b"E":
                raise NotReady(body.replace(b"\0", b" ").decode(errors="replace"))


def probe_kafka(port):
    """Asks for the cluster's metadata, wants this broker and a controller in it."""
    client = b"driftless-stack"
    # Header 1: api key 3 (Metadata), version 1, correlation id, client id;
    # then an empty array: no topics.
    request = struct.pack("!hhih", 3, 1, 1, len(client)) + client + struct.pack("!i", 0)
    with socket.create_connection((HOST, port), timeout=2) as connection:
        connection.sendall(struct.pack("!i", len(request)) + request)
        (size,) = struct.unpack("!i", receive(connection, 4))
        body = receive(connection, size)
    (brokers,) = struct.unpack_from("!i", body, 4)
    at = 8
    for _ in range(brokers):
        (host_length,) = struct.unpack_from("!h", body, at + 4)
        at += 4 + 2 + host_length + 4
        (rack_length,) = struct.unpack_from("!h", body, at)
        at += 2 + max(rack_length, 0)
    (controller,) = struct.unpack_from("!i", body, at)
    if brokers < 1 or controller < 0:
        raise NotReady(f"{brokers} brokers, controller {controller}")


def probe_prometheus(port):
    """Asks for the readiness page."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/-/ready", timeout=2):
        pass


class MongoSet:
    """A replica set: initiates it, or brings its configuration up to date."""

    def __init__(self, ports, running):
        import pymongo  # only this part needs the driver

        self.wanted = [f"{HOST}:{port}" for port in ports]
        self.clients = {
            address: pymongo.MongoClient(
                address, directConnection=True, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000
            )
            for address in (f"{HOST}:{port}" for port in running)
        }

    def admin(self, address):
        return self.clients[address].admin

    def probe(self, _port):
        """One step towards a working set; raises NotReady until it is one."""
        from pymongo.errors import OperationFailure, PyMongoError

        try:
            self.check_configuration()
            self.check_states()
        except OperationFailure as error:
            raise NotReady(f"{error.code}: {error.details.get('errmsg')}") from error
        except PyMongoError as error:
            raise NotReady(str(error)) from error

    def configuration(self):
        """The newest configuration that a running member has, or None."""
        from pymongo.errors import OperationFailure

        found = []
        for address in self.clients:
            try:
                found.append(self.admin(address).command("replSetGetConfig")["config"])
            except OperationFailure as error:
                if error.code != 94:  # NotYetInitialized
                    raise
        return max(found, key=lambda config: config["version"], default=None)

    def check_configuration(self):
        config = self.configuration()
        if config is None:
            self.initiate()
            return
        known = [member["host"] for member in config["members"]]
        if known == self.wanted:
            return
        if known == self.wanted[: len(known)]:
            self.add_member(config, len(known))
        else:
            self.move_members(config)
        raise NotReady("the configuration was changed")

    def member(self, index):
        return {"_id": index, "host": self.wanted[index]}

    def initiate(self):
        if len(self.clients) < len(self.wanted):
            raise NotReady("not all members run: the set cannot be initiated")
        config = {
            "_id": REPLICA_SET,
            "members": [self.member(index) for index in range(len(self.wanted))],
            # Short, so that a lost primary is replaced within seconds.
            "settings": {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500},
        }
        self.admin(self.wanted[0]).command("replSetInitiate", config)

    def add_member(self, config, index):
        """The set grows by one member at a time, as the server demands."""
        config["version"] += 1
        config["members"].append(self.member(index))
        self.admin(self.primary()).command("replSetReconfig", config, maxTimeMS=10000)

    def move_members(self, config):
        """The ports have changed since the last start: the old names lead nowhere."""
        if len(config["members"]) != len(self.wanted):
            raise NotReady("the set has another number of members")
        if len(self.clients) < len(self.wanted):
            raise NotReady("not all members run: the set cannot be moved")
        config["version"] += 1
        for member, address in zip(config["members"], self.wanted):
            member["host"] = address
        self.admin(self.wanted[0]).command("replSetReconfig", config, force=True, maxTimeMS=10000)

    def primary(self):
        for address in self.clients:
            if self.admin(address).command("hello").get("isWritablePrimary"):
                return address
        raise NotReady("no primary")

    def check_states(self):
        """Every running member is primary or secondary; a majority has a primary."""
        for address in self.clients:
            state = self.admin(address).command("replSetGetStatus")["myState"]
            if state not in (1, 2):
                raise NotReady(f"{address} is in state {state}")
        if 2 * len(self.clients) > len(self.wanted):
            self.primary()


def process_ended(pid):
    """True when the process is gone or is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def wait(probe, port, timeout, pids):
    """Polls until the probe passes, the time is over or a process has ended."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            probe(port)
            return 0
        except (NotReady, OSError, struct.error) as error:
            reason = str(error)
        if any(process_ended(pid) for pid in pids):
            return 2
        if time.monotonic() >= deadline:
            print(f"last answer: {reason}", file=sys.stderr)
            return 1
        time.sleep(POLL_SECONDS)


def ports_free(ports):
    """Binds each port for a moment."""
    for port in ports:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, port))
            except OSError:
                return 3
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=["mongo", "kafka", "postgres", "prometheus", "ports"])
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--running", type=int, nargs="*", help="mongo: the members that run")
    parser.add_argument("--pid", type=int, nargs="*", default=[], help="give up when one ends")
    parser.add_argument("--timeout", type=float, default=30)
    options = parser.parse_args()
    if options.server == "ports":
        return ports_free(options.ports)
    probe = {
        "mongo": lambda port: mongo.probe(port),
        "kafka": probe_kafka,
        "postgres": probe_postgres,
        "prometheus": probe_prometheus,
    }[options.server]
    if options.server == "mongo":
        mongo = MongoSet(options.ports, options.running or options.ports)
    return wait(probe, options.ports[0], options.timeout, options.pid)


if __name__ == "__main__":
    sys.exit(main())
