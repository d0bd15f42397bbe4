[
    r##"{"pattern":"^(?<ip>\\S+) (?<n>\\d+)?(?<rest>.*)"}"##,
    r##"{"patterns":["(?<time>\\S+ \\S+) (?<level>\\w+)","(?<level>[a-z]{1,3})"],"timestamp":"level","timestamp_format":"%b"}"##,
    r##"{"pattern":"(?<a>[^ ]*)( (?<b>\\S+))?","types":{"a":"auto","b":"float64"}}"##,
]
