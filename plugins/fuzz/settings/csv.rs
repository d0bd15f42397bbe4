[
    r##"{"columns":["a","b","c"]}"##,
    r##"{"header":"#Fields: x y","delimiter":" ","comment":"#","null":"-","flexible":true}"##,
    r##"{"columns":["ts","","n"],"flexible":true,"types":{"n":"auto"}}"##,
]
