"""F8: a plain stream without ``id=``: JSON lines, filter, map, JSON lines."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measure import Bench, Line, median, paired
from millstream import App, jsonl
from millstream.runtime.local import serve

COUNT = 400_000


def f8(bench: Bench) -> list[Line]:
    count = bench.size(COUNT, 100_000)
    bench.say(f"a plain stream of {count:,} lines")
    with bench.place() as lines_folder:
        path = os.path.join(lines_folder, "in.jsonl")
        _write_lines(path, count)
        found = bench.alternate(
            {
                "bare": lambda: bench.child("benchmarks.stream:bare", path=path, count=count),
                "millstream": lambda: bench.child("benchmarks.stream:millstream", path=path, count=count),
            }
        )
    bare, millstream_ = found["bare"], found["millstream"]
    if {result["size"] for result in bare} != {result["size"] for result in millstream_}:
        raise RuntimeError("the outputs are not the same")
    ratio = paired(millstream_, bare, "rate")
    return [
        Line(
            "F8",
            "plain stream, lines",
            median(bare, "rate"),
            median(millstream_, "rate"),
            "/s",
            ratio,
            ">= 0.3x",
            ratio >= 0.3,
            f"CPU a line {median(bare, 'cpu_us'):.2f} and {median(millstream_, 'cpu_us'):.2f} us",
        )
    ]


def _write_lines(path: str, count: int) -> None:
    encode = msgspec.json.Encoder().encode
    with open(path, "wb") as file:
        for number in range(count):
            line = {"id": number, "card": f"card-{number % 5000}", "cents": number * 7919 % 100_000, "at": 1_767_225_600 + number}
            file.write(encode({**line, "shop": f"shop {number % 97}", "city": "Zaragoza", "kind": "payment"}) + b"\n")


def is_large(payment: dict[str, Any]) -> bool:
    return bool(payment["cents"] > 50_000)


def alert(payment: dict[str, Any]) -> dict[str, Any]:
    return {"id": payment["id"], "card": payment["card"], "euros": payment["cents"] / 100, "shop": payment["shop"]}


def bare(folder: str, path: str, count: int) -> dict[str, float]:
    """The loop that one would write by hand; synced once, at the end."""
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder(order="sorted").encode
    target = os.path.join(folder, "out.jsonl")
    began, cpu = time.perf_counter(), time.process_time()
    with open(path, "rb") as source, open(target, "wb") as sink:
        for line in source:
            payment = decode(line)
            if is_large(payment):
                sink.write(encode(alert(payment)) + b"\n")
        sink.flush()
        os.fsync(sink.fileno())
    return _figures(began, cpu, count, target)


async def millstream(folder: str, path: str, count: int) -> dict[str, float]:
    """The whole of ``millstream run --until-idle``: the store is made, everything is durable, the engine has stopped."""
    target = os.path.join(folder, "out.jsonl")
    app = App("payments")
    app.source("payments", jsonl(path), key="card").filter(is_large).map(alert).sink(jsonl(target))
    graph = app.graph()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.create_task(serve(graph, Path(folder) / "data", until_idle=True))
    return _figures(began, cpu, count, target)


def _figures(began: float, cpu: float, count: int, target: str) -> dict[str, float]:
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"rate": count / took, "cpu_us": cpu / count * 1e6, "size": os.path.getsize(target)}
