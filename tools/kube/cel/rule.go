package main

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemacel "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

// evaluateRule treats the expression as a rule or a messageExpression of a custom resource.
func evaluateRule(request Request) Answer {
	declared, problem := declare(request)
	if problem != "" {
		return Answer{Problem: problem}
	}
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion(), true).Extend(
		environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0),
			EnvOptions:        declared.options,
			DeclTypes:         declared.types,
		})
	if err != nil {
		return Answer{Problem: err.Error()}
	}
	env := set.StoredExpressionsEnv()
	if request.Mode == "new" {
		env = set.NewExpressionsEnv()
	}
	ast, issues := env.Compile(request.Expression)
	if issues != nil {
		return Answer{CompileError: "compilation failed: " + issues.String()}
	}
	switch {
	case request.Wanted == "bool" && ast.OutputType() != cel.BoolType:
		return Answer{CompileError: "cel expression must evaluate to a bool"}
	case request.Wanted == "string" && ast.OutputType() != cel.StringType:
		return Answer{CompileError: "messageExpression must evaluate to a string"}
	}
	answer := Answer{Type: ast.OutputType().String()}
	checked, err := cel.AstToCheckedExpr(ast)
	if err != nil {
		return Answer{Problem: err.Error()}
	}
	for _, reference := range checked.ReferenceMap {
		answer.UsesOldSelf = answer.UsesOldSelf || reference.Name == schemacel.OldScopedVarName
	}
	estimator := &library.CostEstimator{SizeEstimator: &sizes{root: declared.self}}
	program, err := env.Program(ast,
		cel.CostLimit(celconfig.PerCallLimit),
		cel.CostTracking(estimator),
		cel.InterruptCheckFrequency(celconfig.CheckFrequency),
	)
	if err != nil {
		return Answer{CompileError: "program instantiation failed: " + err.Error()}
	}
	estimate, err := env.EstimateCost(ast, estimator)
	if err != nil {
		return Answer{CompileError: "cost estimation failed: " + err.Error()}
	}
	answer.Estimated = &Estimate{Min: estimate.Min, Max: estimate.Max}
	return evaluated(answer, program, declared.values)
}

// declarations are the variables of a rule.
type declarations struct {
	options []cel.EnvOption
	types   []*apiservercel.DeclType
	values  map[string]interface{}
	self    *apiservercel.DeclType
}

func declare(request Request) (declarations, string) {
	found := declarations{values: map[string]interface{}{}, self: apiservercel.DynType}
	for name, variable := range request.Variables {
		if variable.Schema == nil {
			found.options = append(found.options, cel.Variable(name, cel.DynType))
			if !variable.Absent {
				found.values[name] = variable.Value
			}
			continue
		}
		structural, err := structuralOf(variable.Schema)
		if err != nil {
			return found, fmt.Sprintf("schema of %s: %v", name, err)
		}
		root := request.Root || structural.XEmbeddedResource
		declType := model.SchemaDeclType(structural, root)
		if declType == nil {
			return found, fmt.Sprintf("schema of %s: it is not exposed to CEL", name)
		}
		declType = declType.MaybeAssignTypeName(typeName(name))
		if name == schemacel.ScopedVarName {
			found.self = declType
		}
		if name != schemacel.OldScopedVarName { // it has the type of self
			found.types = append(found.types, declType)
		}
		celType := declType.CelType()
		if name == schemacel.OldScopedVarName && request.OptionalOldSelf {
			celType = types.NewOptionalType(celType)
		}
		found.options = append(found.options, cel.Variable(name, celType))
		if root {
			structural = model.WithTypeAndObjectMeta(structural)
		}
		found.give(name, variable, structural, request.OptionalOldSelf)
	}
	return found, ""
}

func (d *declarations) give(name string, variable Variable, structural *schema.Structural, optional bool) {
	old := name == schemacel.OldScopedVarName
	switch {
	case old && optional && variable.Absent:
		d.values[name] = types.OptionalNone
	case variable.Absent:
	case old && optional:
		d.values[name] = types.OptionalOf(schemacel.UnstructuredToVal(variable.Value, structural))
	default:
		d.values[name] = schemacel.UnstructuredToVal(variable.Value, structural)
	}
}

// typeName is what error texts call the type of a variable. A real API server numbers the type of self anew with every
// compilation, so that nobody relies on its name.
func typeName(variable string) string {
	if variable == schemacel.OldScopedVarName {
		variable = schemacel.ScopedVarName
	}
	return variable + "Type0"
}

func structuralOf(raw map[string]interface{}) (*schema.Structural, error) {
	var published apiextensionsv1.JSONSchemaProps
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &published); err != nil {
		return nil, err
	}
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&published, &internal, nil); err != nil {
		return nil, err
	}
	return schema.NewStructural(&internal)
}

// sizes bounds strings, lists and maps by the schema of self, as the API server does for estimates.
type sizes struct {
	root *apiservercel.DeclType
}

func (s *sizes) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	if len(element.Path()) == 0 {
		return nil
	}
	node := s.root
	for _, name := range element.Path()[1:] {
		next := node.ElemType
		switch name {
		case "@items", "@values":
		case "@keys":
			next = node.KeyType
		default:
			field, known := node.Fields[name]
			if !known {
				return nil
			}
			next = field.Type
		}
		if next == nil {
			return nil
		}
		node = next
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(node.MaxElements)}
}

func (s *sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
