[
    r##"{}"##,
    r##"{"types":false}"##,
    r##"{"timestamp":"at"}"##,
]
