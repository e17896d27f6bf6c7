package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strconv"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	apiservercel "k8s.io/apiserver/pkg/cel"
)

// evaluated adds the outcome of the program to the answer.
func evaluated(answer Answer, program cel.Program, values map[string]interface{}) Answer {
	value, details, err := program.Eval(values)
	if details != nil {
		answer.Cost = details.ActualCost()
	}
	if err != nil {
		answer.Error = err.Error()
		return answer
	}
	answer.Value = tagged(value)
	return answer
}

// tagged writes a value as {KIND: CONTENT}, so that an int, a uint and a double do not look alike.
func tagged(value ref.Val) interface{} {
	kind, content := "", interface{}(nil)
	switch found := value.(type) {
	case types.Bool:
		kind, content = "bool", bool(found)
	case types.Int:
		kind, content = "int", int64(found)
	case types.Uint:
		kind, content = "uint", uint64(found)
	case types.Double:
		kind, content = "double", strconv.FormatFloat(float64(found), 'g', -1, 64)
	case types.String:
		kind, content = "string", string(found)
	case types.Bytes:
		kind, content = "bytes", hex.EncodeToString(found)
	case types.Null:
		kind = "null"
	case types.Timestamp:
		kind, content = "timestamp", found.UTC().Format(time.RFC3339Nano)
	case types.Duration:
		kind, content = "duration", found.Nanoseconds()
	case *types.Optional:
		if kind = "optional"; found.HasValue() {
			content = tagged(found.GetValue())
		}
	case *types.Err:
		kind, content = "error", found.Error()
	case traits.Lister:
		kind, content = "list", taggedItems(found.Iterator())
	case traits.Mapper:
		kind, content = "map", taggedPairs(found)
	case ref.Type:
		kind, content = "type", found.TypeName()
	case apiservercel.Format:
		kind, content = "opaque", []string{value.Type().TypeName(), found.Name}
	default:
		kind, content = "opaque", []string{value.Type().TypeName(), fmt.Sprint(value.Value())}
	}
	return map[string]interface{}{kind: content}
}

func taggedItems(items traits.Iterator) []interface{} {
	found := []interface{}{}
	for items.HasNext() == types.True {
		found = append(found, tagged(items.Next()))
	}
	return found
}

// taggedPairs lists keys with values; the order is that of the keys' text, since a map has none.
func taggedPairs(mapper traits.Mapper) []interface{} {
	pairs := map[string]interface{}{}
	for items := mapper.Iterator(); items.HasNext() == types.True; {
		key := items.Next()
		if key == nil { // a field that the schema does not know
			continue
		}
		shown := tagged(key)
		text, _ := json.Marshal(shown)
		pairs[string(text)] = []interface{}{shown, tagged(mapper.Get(key))}
	}
	texts := make([]string, 0, len(pairs))
	for text := range pairs {
		texts = append(texts, text)
	}
	sort.Strings(texts)
	found := make([]interface{}, 0, len(pairs))
	for _, text := range texts {
		found = append(found, pairs[text])
	}
	return found
}

func write(out io.Writer, answer Answer) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		return err
	}
	_, err := out.Write(line.Bytes())
	return err
}
