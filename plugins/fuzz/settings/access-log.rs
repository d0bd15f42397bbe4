[
    r##"{}"##,
    r##"{"format":"common"}"##,
    r##"{"format":"combined","request_time":true}"##,
]
