"""Every problem code that a partner can see: its level, what it means and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Code:
    """A stable name for one kind of problem. `error` refuses the row or drop, `warning` and `note` do not."""

    name: str
    level: Level
    meaning: str
    hint: str


_ALL = (
    # The drop as a whole: these refuse it.
    Code("empty_file", "error", "The file has no bytes.", "Export it again and check its size before you upload it."),
    Code("not_text", "error", "The file is binary.", "Send CSV or NDJSON text, plain or as .gz or .zst."),
    Code("nul_bytes", "error", "The file has raw NUL bytes.", "Export it again as UTF-8 text without NUL bytes."),
    Code(
        "bad_encoding",
        "error",
        "The bytes are not UTF-8.",
        'Save the file as UTF-8; for Latin-1 files ask the operator to set encoding = "latin-1" for this feed.',
    ),
    Code(
        "suspect_cut_off",
        "error",
        "The file looks cut off: it ends in the middle.",
        "Upload the whole file again. Where it was whole, mend its last record and end it with a line break.",
    ),
    Code("bad_compression", "error", "The compressed data is damaged.", "Compress the file again and upload it again."),
    Code(
        "expanded_too_large", "error", "The file expands to more than this feed allows.", "Split it into smaller files."
    ),
    Code(
        "wrong_format",
        "error",
        "This feed does not take this format.",
        "Send the file in a format that CONTRACT.md in samples/ names.",
    ),
    Code(
        "unterminated_quote",
        "error",
        "A quote is opened and never closed.",
        "Close the quote on the line named, or double a quote that belongs to the value.",
    ),
    Code(
        "missing_column",
        "error",
        "A column that every row needs is not in the header.",
        "Add the column to the header, spelt exactly so.",
    ),
    Code("wrong_case_column", "error", "A key column is spelt in another case.", "Spell the column exactly as named."),
    Code("duplicate_column", "error", "Two columns have the same name.", "Rename or remove one of the two."),
    Code("blank_column", "error", "A column has no name.", "Name the column in the header, or remove it."),
    Code(
        "long_column_name",
        "error",
        "The name of a column is very long.",
        "Check that the first line is the header, and that its quotes are closed.",
    ),
    Code(
        "too_many_columns",
        "error",
        "The file has more columns, or different keys, than allowed.",
        "Check the delimiter; split the file where it really is so wide.",
    ),
    Code(
        "too_many_rows",
        "error",
        "The file has more rows than this feed allows.",
        "Split it into smaller files, each with the header.",
    ),
    Code(
        "too_many_errors",
        "error",
        "More rows are bad than this feed allows.",
        "Fix the rows in the errors file and drop the whole file again.",
    ),
    Code(
        "checksum_mismatch",
        "error",
        "The file is not the one that its checksum file is about.",
        "Upload the file and its checksum again.",
    ),
    Code(
        "proof_missing",
        "error",
        "Nothing showed in time that the file is whole.",
        "Upload it again, with the marker, the checksum or the rename that the feed asks for.",
    ),
    Code(
        "too_much_memory",
        "error",
        "The file needs more memory than one file may take.",
        "Split it into smaller files. Where it is small, look for very many columns or keys, most of them empty.",
    ),
    Code(
        "too_much_time",
        "error",
        "The file takes longer to read than one file may.",
        "Split it into smaller files. Where it is small already, look whether it is what you meant to send.",
    ),
    Code("duplicate_file", "error", "These bytes were already processed.", "Nothing to do; send a file only once."),
    Code(
        "gateway_failure",
        "error",
        "The gateway failed, not the file.",
        "Nothing to fix on your side; the operator has been told.",
    ),
    # One row: these reject it.
    Code(
        "too_few_fields",
        "error",
        "The row has fewer fields than the header.",
        "Check for a missing delimiter or a line break inside a value that is not quoted.",
    ),
    Code(
        "too_many_fields",
        "error",
        "The row has more fields than the header.",
        "Put a value that holds the delimiter in double quotes.",
    ),
    Code(
        "stray_quote",
        "error",
        "A quote stands where none can.",
        "Put the whole value in double quotes and double each quote inside it.",
    ),
    Code(
        "record_too_long",
        "error",
        "The record is longer than allowed.",
        "Check for a missing line break, or shorten the value.",
    ),
    Code("malformed_json", "error", "The line is not valid JSON.", "Write each record as one JSON object on one line."),
    Code(
        "not_an_object", "error", "The line is JSON, but not an object.", "Write each record as one JSON object: {…}."
    ),
    Code("too_deep", "error", "The JSON is nested too deep.", "Flatten the value."),
    Code("missing_required", "error", "A required value is blank or absent.", "Fill it in."),
    Code("missing_identity", "error", "No value says whom the row is about.", "Fill in one of the columns named."),
    Code(
        "placeholder_identity",
        "error",
        "The identity is a placeholder, not a person.",
        "Send the real identity, or leave the row out.",
    ),
    Code(
        "unknown_event_type",
        "error",
        "The event type is none of the allowed ones.",
        "Use one of the allowed event types.",
    ),
    Code("not_allowed", "error", "The value is none of the allowed ones.", "Use one of the allowed values."),
    Code("not_integer", "error", "Not a whole number.", "Write digits only, without separators or units."),
    Code(
        "not_non_negative_integer",
        "error",
        "Not a whole number of 0 or more.",
        "Write digits only, without sign, separators or units.",
    ),
    Code(
        "not_number",
        "error",
        "Not a number.",
        "Write digits with a point as the decimal mark, without separators or units.",
    ),
    Code("not_boolean", "error", "Neither true nor false.", "Write true or false."),
    Code("out_of_range", "error", "The number is outside its range.", "Check the value and its unit."),
    Code("bad_email", "error", "Not an email address.", "Write one address, such as jane@example.com."),
    Code(
        "phone_not_digits",
        "error",
        "A phone number holds something other than digits.",
        "Remove +, -, brackets and letters; spaces between digits are fine.",
    ),
    Code("not_digits", "error", "The value holds something other than digits.", "Write digits only."),
    Code("bad_url", "error", "The URL does not parse.", "Write a whole URL, such as https://example.com/path."),
    Code("bad_hostname", "error", "Not a host name.", "Write the host name only, such as app.example.com."),
    Code("bad_country", "error", "Not a country code.", "Use ISO 3166-1 alpha-2, such as DE, US or GB."),
    Code("bad_language", "error", "Not a language tag.", "Use a BCP 47 tag, such as en-US."),
    Code("bad_tags", "error", "Not a list of tags.", "Separate tags with ; or write a JSON array of strings."),
    Code(
        "not_text_value",
        "error",
        "The value is an object, an array, true or false, not text.",
        "Write the value as a JSON string.",
    ),
    Code(
        "not_object",
        "error",
        "The value is not a JSON object.",
        'Write a JSON object: {"key": "value"}, or {} when there is none.',
    ),
    Code("bad_time", "error", "Not a time that the contract allows.", "Write ISO 8601, such as 2024-07-28T08:55:35Z."),
    Code(
        "bad_unix_time",
        "error",
        "Not a Unix time.",
        "Write seconds since 1970-01-01 UTC as digits, such as 1359389415.",
    ),
    Code(
        "bad_date",
        "error",
        "The value does not fit the date format of its header.",
        "Write the value exactly as the header's format says, or change the format in the header.",
    ),
    Code(
        "nonexistent_local_time",
        "error",
        "The local time never existed: clocks were set forward over it.",
        "Send the time with a zone, such as 2024-03-31T02:30:00+02:00.",
    ),
    Code(
        "in_the_future",
        "error",
        "The event is later than the time at which the file landed.",
        "Check the clock and the time zone of the system that made the file.",
    ),
    Code(
        "beyond_retention",
        "error",
        "The event is older than the retention of this tenant.",
        "Leave out events that are older, or ask the operator for a longer retention.",
    ),
    Code("pattern_mismatch", "error", "The value does not fit its pattern.", "Write it as the contract says."),
    Code("too_short", "error", "The value is too short.", "Check that nothing was cut off."),
    Code("too_long", "error", "The value is too long.", "Shorten it."),
    # Accepted, but look.
    Code(
        "unknown_column",
        "warning",
        "A column that the contract does not know is ignored.",
        "Check its spelling, or leave it out.",
    ),
    Code(
        "defaulted",
        "warning",
        "Rows without a value got the default one.",
        "Send the value with each record.",
    ),
    Code(
        "shrinking_properties",
        "warning",
        "A record lacks or blanks properties that an earlier one of the same person or company had.",
        "Send all properties with each record, those that are not known as null.",
    ),
    Code(
        "unknown_identity",
        "warning",
        "An event is of somebody of whom there is no profile.",
        "Send profiles before events, and check that both name people by the same ids.",
    ),
    Code(
        "duplicate",
        "note",
        "The event was there before and is not stored again.",
        "Nothing to do; an event needs to be sent only once.",
    ),
    Code("milliseconds", "warning", "A Unix time is in milliseconds.", "Send seconds."),
    Code(
        "ambiguous_local_time",
        "warning",
        "The local time happened twice; the earlier one was taken.",
        "Send times with a zone.",
    ),
    Code(
        "unknown_date_format",
        "warning",
        "The date format in a header is not known; the column stays text.",
        "Use one of the formats that CONTRACT.md lists, in their exact case.",
    ),
    Code(
        "spreadsheet_error",
        "warning",
        "Values are error values of a spreadsheet.",
        "Mend the formulas and export again.",
    ),
    Code(
        "scientific_id",
        "warning",
        "Ids are in scientific notation; their last digits are lost.",
        "Format the column as text in the spreadsheet, and export from the original data again.",
    ),
    Code(
        "lost_leading_zeros",
        "warning",
        "Some ids are shorter than all others, as if leading zeros were lost.",
        "Format the column as text in the spreadsheet, and export from the original data again.",
    ),
    Code(
        "mojibake",
        "warning",
        "Letters were garbled by a wrong encoding.",
        "Export again as UTF-8, and open it as UTF-8 wherever it is edited.",
    ),
    Code("nul_escape", "warning", "Values hold NUL characters.", "Remove \\u0000 from the values."),
    Code(
        "smart_quotes",
        "warning",
        "A column name holds typographic quotes.",
        "Write the header with plain quotes, or none.",
    ),
    Code(
        "delimiter_detected",
        "note",
        "The file uses another delimiter than a comma.",
        "Nothing to do; a comma would be the standard.",
    ),
    Code(
        "no_completion_proof",
        "note",
        "Nothing proves that the file is whole.",
        "Upload under a temporary name and rename, so that a cut-off upload is never taken for a whole one.",
    ),
    Code(
        "clock_skew",
        "note",
        "The file's time lies in the future: the sender's clock is off.",
        "Set the sending machine's clock by NTP.",
    ),
)

CODES: dict[str, Code] = {code.name: code for code in _ALL}
