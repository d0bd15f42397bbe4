[
    r##"{"pattern":"%{SYSLOGLINE}"}"##,
    r##"{"patterns":["^%{HTTPD_COMMONLOG}","%{INT:n:int}","(?<rest>.*)"]}"##,
    r##"{"pattern":"%{TIMESTAMP_ISO8601:timestamp}%{SPACE}%{LOGLEVEL:[log][level]} %{GREEDYDATA:message}"}"##,
]
