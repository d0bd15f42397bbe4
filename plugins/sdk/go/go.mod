module tidemill

go 1.24
