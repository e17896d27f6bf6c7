package main

import (
	"github.com/google/cel-go/cel"

	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// condition is an expression with the type that it has to have.
type condition struct {
	expression string
	wanted     *cel.Type
}

func (c *condition) GetExpression() string { return c.expression }

func (c *condition) ReturnTypes() []*cel.Type { return []*cel.Type{c.wanted} }

var conditions = plugincel.NewCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion(), true))

// evaluateCondition treats the expression as a match condition of a webhook. The variables are object, oldObject,
// request and authorizer; those that are not given are null. What is estimated is not: no limit stands on it.
func evaluateCondition(request Request) Answer {
	wanted := map[string]*cel.Type{"bool": cel.BoolType, "string": cel.StringType, "any": cel.AnyType}[request.Wanted]
	mode := environment.StoredExpressions
	if request.Mode == "new" {
		mode = environment.NewExpressions
	}
	options := plugincel.OptionalVariableDeclarations{HasAuthorizer: true, StrictCost: true}
	result := conditions.CompileCELExpression(&condition{request.Expression, wanted}, options, mode)
	if result.Error != nil {
		return Answer{CompileError: result.Error.Error()}
	}
	values := map[string]interface{}{"object": nil, "oldObject": nil, "request": nil, "namespaceObject": nil}
	for name, variable := range request.Variables {
		if variable.Value != nil {
			values[name] = variable.Value
		}
	}
	return evaluated(Answer{Type: result.OutputType.String()}, result.Program, values)
}
