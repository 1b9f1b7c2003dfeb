"""What is known of messages that a subscriber never got: when each was accepted, offered and acknowledged, and what the broker and the
subscriber did meanwhile."""

import bisect
import calendar
import os
import re
import shutil
import tempfile
import time

LINE = re.compile(r"^(\S+Z)\s+\w+ perceptd::publish\S*: (.*)$")
RECORD = re.compile(r"RecordId\((\d+)\)")
# Seconds around what is missing that the excerpts show.
AROUND = 3


def clock(at):
    """Seconds since 1970 as a time of this day, in UTC."""
    return time.strftime("%H:%M:%S", time.gmtime(at)) + f"{at % 1:.3f}"[1:]


def unix(stamp):
    """The seconds since 1970 of a stamp in the source's log."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")


def read_log(path):
    """What the source's log tells: by record its offers and outcomes, and the rest."""
    by_record, other = {}, []
    with open(path, encoding="utf-8") as log:
        for line in log:
            match = LINE.match(line)
            if not match:
                continue
            at, what = unix(match[1]), match[2]
            record = RECORD.search(what)
            if record and "ticket" in what:
                by_record.setdefault(int(record[1]), []).append((at, what))
            elif "ticket" not in what:
                other.append((at, f"the publisher: {what}"))
    return by_record, other


def ranges(numbers):
    """Runs of numbers without a hole, as (first, last)."""
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [tuple(pair) for pair in found]


def tell(ear, source, marks, source_log, broker_log):
    """Writes a report into a new folder, with both logs; gives the folder."""
    folder = tempfile.mkdtemp(prefix="missing-")
    by_record, other = read_log(source_log)
    accepted = {number(source.records[m][1]): (source.records[m][0], m) for m in source.accepted - ear.seen if m in source.records}
    kills = sorted(at for at, what in marks if "killed" in what)
    # Those that the same kills took along belong together.
    groups = {}
    for record in sorted(accepted):
        fatal = tuple(bisect.bisect(kills, at) + 1 for at, what in by_record.get(record, []) if outcome_of(what) == "Delivered")
        groups.setdefault(fatal, []).append(record)
    events = sorted(marks + ear.diary + other)
    with open(os.path.join(folder, "report"), "w", encoding="utf-8") as report:
        for fatal, records in groups.items():
            before = f"acknowledged before each of the kills {list(fatal)}"
            print(f"== {len(records)} messages, {before}: records {ranges(records)}", file=report)
            for record in records:
                print("   " + story(record, *accepted[record], by_record.get(record, []), kills), file=report)
            begin = min(accepted[record][0] for record in records) - AROUND
            end = max(at for record in records for at, _ in by_record.get(record, [(begin, "")])) + AROUND
            print("   meanwhile:", file=report)
            for at, what in events:
                if begin < at < end:
                    print(f"     {clock(at)} {what}", file=report)
            print("   what the subscriber got, in each tenth of a second:", file=report)
            print("     " + tenths([at for at, _ in ear.arrivals if begin < at < end]), file=report)
    for log in (source_log, broker_log):
        shutil.copy(log, folder)
    return folder


def number(record):
    return int(RECORD.search(record)[1])


def outcome_of(what):
    outcome = re.search(r"outcome=(\w+)", what)
    return outcome and outcome[1]


def story(record, accepted_at, message, lines, kills):
    """What became of a message: each time that it was offered, what the broker said, and how long before the next kill."""
    told = [f"{record} ({message[0][:8]} revision {message[1]}): accepted {clock(accepted_at)}"]
    for at, what in lines:
        outcome, sequence = outcome_of(what), re.search(r"seq=(\d+)", what)
        if sequence:
            told.append(f"{clock(at)} offered (seq {sequence[1]})")
        elif outcome:
            killed = bisect.bisect(kills, at)
            before = f" {kills[killed] - at:.3f} s before kill {killed + 1}" if killed < len(kills) else ""
            told.append(f"{clock(at)} {outcome}{before}")
    return "; ".join(told)


def tenths(times):
    counts = {}
    for at in times:
        counts[int(at * 10)] = counts.get(int(at * 10), 0) + 1
    return " ".join(f"{clock(tenth / 10)[6:-2]}:{count}" for tenth, count in sorted(counts.items()))
