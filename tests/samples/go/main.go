// The smallest web server: net/http would take most of a minute to compile the first time.
package main

import (
	"bufio"
	"net"
	"os"

	"example.org/sample/v2/greeting"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go answer(connection)
	}
}

func answer(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" {
			break
		}
	}
	connection.Write([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + greeting.Text + "\n"))
}
