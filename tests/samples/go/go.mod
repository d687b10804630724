module example.org/sample/v2

go 1.19
