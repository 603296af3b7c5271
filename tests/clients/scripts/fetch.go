// What a service in Go does: `fetch [URL FILE BODY]…`, as in fetch.py. Proxy and roots come from the environment.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func fetch(url, file, body string) error {
	method, content := "GET", io.Reader(nil)
	if body != "-" {
		opened, err := os.Open(body)
		if err != nil {
			return err
		}
		method, content = "POST", opened // of unknown length, thus chunked
	}
	request, err := http.NewRequest(method, url, content)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	into, err := os.Create(file)
	if err != nil {
		return err
	}
	defer into.Close()
	if _, err := io.Copy(into, response.Body); err != nil {
		return err
	}
	if response.ProtoMajor == 2 {
		fmt.Println("2")
	} else {
		fmt.Printf("%d.%d\n", response.ProtoMajor, response.ProtoMinor)
	}
	return nil
}

func main() {
	triples := os.Args[1:]
	for at := 0; at < len(triples); at += 3 {
		if err := fetch(triples[at], triples[at+1], triples[at+2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
