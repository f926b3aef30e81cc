#!/usr/bin/env bash
# Go's github.com/k-capehart/go-salesforce v3.1.0 loses data in bulk calls, and says that all went well:
# - InsertBulk, UpdateBulk and UpsertBulk take the fields from the first record alone. What only later records have is not sent.
# - Numbers are printed with %v: a float64, as each number from JSON is, of 1234567 goes out as 1.234567e+06, and so does an id
#   that is made of digits.
# - With several batches and waitForResults it waits for one job, whichever is done first, and gives back that job's error only.
#   Others may have failed, or not be done.
# It hurts whoever writes answers that do not all have the same fields, or more of them than one batch holds.
# What helps: the same keys in each record (with nil where there is nothing), numbers as int or text, one batch a call, and
# GetJobResults() for each id that comes back.
#
# What this does: plays Salesforce's Bulk API 2.0 on 127.0.0.1. It inserts three maps, the second with a field more, as one
# batch, and again as three batches: the first job succeeds, the second one fails after 3 s, the third one is never done.
# Seen: the field and its value are in no upload, 1.234567e+06 is; InsertBulk with three batches is back after the first job,
# without an error.
# Needs Go.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder" && rm -rf "$folder"' EXIT
cd "$folder"
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/k-capehart/go-salesforce/v3"
)

type org struct {
	sync.Mutex
	jobs    int
	uploads []string
	last    time.Time
}

func (o *org) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.Lock()
	defer o.Unlock()
	body, _ := io.ReadAll(r.Body)
	id := strings.Split(strings.TrimPrefix(r.URL.Path[strings.Index(r.URL.Path, "/services/data/v")+len("/services/data/v00.0"):], "/jobs/ingest/"), "/")[0]
	answer := map[string]any{"id": id, "state": "UploadComplete", "errorMessage": ""}
	switch {
	case r.Method == http.MethodPost:
		o.jobs++
		answer["id"], answer["state"] = fmt.Sprint("job", o.jobs), "Open"
		o.last = time.Now()
	case r.Method == http.MethodPut:
		o.uploads = append(o.uploads, string(body))
	case r.Method == http.MethodGet && (id == "job1" || id == "job2"):
		answer["state"] = "JobComplete"
	case r.Method == http.MethodGet && id == "job3" && time.Since(o.last) > 3*time.Second:
		answer["state"], answer["errorMessage"] = "Failed", "this one failed"
	case r.Method == http.MethodGet && strings.HasPrefix(id, "job"):
		answer["state"] = "InProgress"
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

func main() {
	salesforceOrg := &org{}
	server := httptest.NewServer(salesforceOrg)
	defer server.Close()
	client, err := salesforce.Init(salesforce.Creds{Domain: server.URL, AccessToken: "token"})
	if err != nil {
		panic(err)
	}
	var records []map[string]any
	json.Unmarshal([]byte(`[{"Number__c": 1234567}, {"Number__c": 2, "Comment__c": "late"}, {"Number__c": 3}]`), &records)
	jobs, err := client.InsertBulk("Survey_Response__c", records, 10, true)
	fmt.Printf("one batch: %d job, error %v, upload %q\n", len(jobs), err, salesforceOrg.uploads[0])
	began := time.Now()
	jobs, err = client.InsertBulk("Survey_Response__c", records, 1, true)
	fmt.Printf("three batches: %d jobs, error %v, at once: %v\n", len(jobs), err, time.Since(began) < 10*time.Second)
}
GO
go mod init finding 2>/dev/null
go get github.com/k-capehart/go-salesforce/v3@v3.1.0 2>/dev/null
go mod tidy 2>/dev/null
timeout 120 go run . | tee seen
diff seen - <<'SEEN'
one batch: 1 job, error <nil>, upload "Number__c\n1.234567e+06\n2\n3\n"
three batches: 3 jobs, error <nil>, at once: true
SEEN
