// Command cel says what Kubernetes' CEL makes of an expression: one JSON request a line on stdin, one JSON answer a
// line on stdout. It is the judge of our own CEL: the environments, the typed values, the cost estimator and the
// limits are those that a real API server uses for rules of custom resources and for match conditions of webhooks.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Request is one line of input.
type Request struct {
	Expression string `json:"expression"`
	// Environment is "rule" (custom resources; the default) or "condition" (webhooks).
	Environment string `json:"environment"`
	// Mode is "stored" (the default: what is evaluated) or "new" (what may be created, one minor behind).
	Mode string `json:"mode"`
	// Wanted is "bool", "string" or "any" (the default).
	Wanted string `json:"wanted"`
	// OptionalOldSelf declares oldSelf as an optional, as a rule with optionalOldSelf does.
	OptionalOldSelf bool `json:"optionalOldSelf"`
	// Root says that self is a whole custom resource: apiVersion, kind and metadata are implied.
	Root      bool                `json:"root"`
	Variables map[string]Variable `json:"variables"`
}

// Variable is a value with the schema that types it; without a schema it is dynamic.
type Variable struct {
	Schema map[string]interface{} `json:"schema"`
	Value  interface{}            `json:"value"`
	// Absent declares the variable without giving it a value.
	Absent bool `json:"absent"`
}

// Answer is one line of output.
type Answer struct {
	// Problem is set when the request itself makes no sense; nothing else is set then.
	Problem      string      `json:"problem,omitempty"`
	CompileError string      `json:"compile_error,omitempty"`
	Type         string      `json:"type,omitempty"`
	Value        interface{} `json:"value,omitempty"`
	Error        string      `json:"error,omitempty"`
	Cost         *uint64     `json:"cost,omitempty"`
	Estimated    *Estimate   `json:"estimated,omitempty"`
	// UsesOldSelf says that the rule refers to oldSelf.
	UsesOldSelf bool `json:"uses_old_self,omitempty"`
}

// Estimate is the range of the cost that is computed when a rule is created.
type Estimate struct {
	Min uint64 `json:"min"`
	Max uint64 `json:"max"`
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cel:", err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	answers := bufio.NewWriter(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			if err := write(answers, answerTo(line)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return answers.Flush()
		}
		if err != nil {
			return err
		}
		if lines.Buffered() == 0 {
			if err := answers.Flush(); err != nil {
				return err
			}
		}
	}
}

func answerTo(line []byte) (answer Answer) {
	defer func() {
		if cause := recover(); cause != nil {
			answer = Answer{Problem: fmt.Sprintf("panic: %v", cause)}
		}
	}()
	request := Request{Environment: "rule", Mode: "stored", Wanted: "any"}
	// This decoder keeps whole numbers as int64, as an API server does.
	if err := utiljson.Unmarshal(line, &request); err != nil {
		return Answer{Problem: err.Error()}
	}
	switch request.Environment {
	case "rule":
		return evaluateRule(request)
	case "condition":
		return evaluateCondition(request)
	}
	return Answer{Problem: fmt.Sprintf("environment %q: wanted rule or condition", request.Environment)}
}
