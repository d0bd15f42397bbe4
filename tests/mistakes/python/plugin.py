"""What authors get wrong, by the number in `status`: each is an error that says what to do. Its name is its folder's."""

import datetime
import logging  # it looks at the clock while it is imported
import os
import time
from time import time as borrowed

from tidemill import Contract

STARTED = time.time()
with open(__file__) as file:
    FIRST = file.read(1)


def configure(settings):
    return Contract(reads=["status", "http.*"], writes={"answer": "utf8"})


WRONG = {
    1: lambda row: str(time.time()),
    2: lambda row: str(datetime.datetime.now()),
    3: lambda row: str(datetime.date.today()),
    4: lambda row: open("/etc/hostname").read(),
    5: lambda row: str(os.urandom(1)),
    6: lambda row: row["path"],
    7: lambda row: row.get("path", "none"),
    8: lambda row: str(row["http.method"]),
    9: lambda row: str(datetime.datetime(2026, 1, 31, 12) + datetime.timedelta(days=1)),
    10: lambda row: f"{STARTED > 0} {len(FIRST)} {logging.INFO}",
    11: lambda row: str(borrowed()),
    12: lambda row: time.strftime("%Y"),
    13: lambda row: time.strftime("%Y", time.gmtime(0)),
    14: lambda row: of_a_kind(datetime.datetime(2026, 1, 31, 12)),
}


def of_a_kind(noon):
    kinds = [isinstance(noon, datetime.date), isinstance(noon.date(), datetime.date), isinstance(noon, datetime.datetime)]
    return f"{kinds} {issubclass(datetime.datetime, datetime.date)}"


def enrich_row(row, context):
    return {"answer": WRONG[row["status"]](row)}
