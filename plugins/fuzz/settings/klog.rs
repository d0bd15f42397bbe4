[
    r##"{}"##,
    r##"{"year":2024,"timezone":"-03:30","prefix":"k."}"##,
]
