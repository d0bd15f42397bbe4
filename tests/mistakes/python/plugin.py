"""What authors get wrong, by the number in `status`: each is an error that says what to do. Its name is its folder's."""

import datetime
import os
import time

from tidemill import Contract


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
}


def enrich_row(row, context):
    return {"answer": WRONG[row["status"]](row)}
