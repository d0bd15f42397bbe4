[
    r##"{}"##,
    r##"{"pair":["||"," | "],"field":["=>"," is "],"quotes":"\u0027","bare":true}"##,
    r##"{"timestamp":"at","types":false}"##,
]
