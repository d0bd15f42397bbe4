[
    r##"{}"##,
    r##"{"timestamp":"a.at"}"##,
]
