"""Whether a prompt can run, and if not, every reason, in the words that clients know from ComfyUI."""

from __future__ import annotations

import inspect
import logging
import traceback
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import nodes

Problem = Dict[str, Any]
Prompt = Dict[str, Any]

# Longer lists of choices, such as hundreds of models, are not sent back.
_LONGEST_LIST = 20

_CONVERSIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass
class Validation:
    """`error` is None when at least one output can be made; `node_errors` may still name others that cannot."""

    error: Optional[Problem]
    good_outputs: List[str] = field(default_factory=list)
    node_errors: Dict[str, Any] = field(default_factory=dict)


@dataclass
class _NodeResult:
    """`problems` are the node's own; it is also not valid when something that it is linked to is not."""

    valid: bool
    problems: List[Problem]


def problem(kind: str, message: str, details: str, extra_info: Optional[Dict[str, Any]] = None) -> Problem:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info or {}}


def is_link(value: Any) -> bool:
    """Whether an input's value is another node's output, `[node id, index]`, rather than a constant."""
    return isinstance(value, list)


def validate_prompt(prompt: Prompt, only_outputs: Optional[List[str]] = None) -> Validation:
    """Validates every output with what it depends on; constants are converted in place to their declared types."""
    outputs = []
    for node_id, node in prompt.items():
        where = f"Node ID '#{node_id}'"
        if "class_type" not in node:
            message = "Cannot execute because a node is missing the class_type property."
            return Validation(problem("invalid_prompt", message, where))
        node_class = nodes.NODE_CLASS_MAPPINGS.get(node["class_type"])
        if node_class is None:
            message = f"Cannot execute because node {node['class_type']} does not exist."
            return Validation(problem("invalid_prompt", message, where))
        if getattr(node_class, "OUTPUT_NODE", False) and (only_outputs is None or node_id in only_outputs):
            outputs.append(node_id)
    if not outputs:
        return Validation(problem("prompt_no_outputs", "Prompt has no outputs", ""))
    return _validate_outputs(prompt, outputs)


def _validate_outputs(prompt: Prompt, outputs: List[str]) -> Validation:
    results: Dict[str, _NodeResult] = {}
    node_errors: Dict[str, Any] = {}
    good_outputs, reasons = [], []
    for output in outputs:
        try:
            result = _validate_node(prompt, output, results)
        except Exception as error:
            result = _NodeResult(
                False, [_raised("exception_during_validation", "Exception when validating node", error)]
            )
            results[output] = result
        if result.valid:
            good_outputs.append(output)
            continue
        reasons += result.problems
        logging.error(f"Failed to validate prompt for output {output}:")
        if result.problems:
            _log_problems("(prompt)", result.problems)
        for node_id, node_result in results.items():
            if node_result.valid or not node_result.problems:
                continue
            if node_id not in node_errors:
                class_type = prompt[node_id]["class_type"]
                node_errors[node_id] = {
                    "errors": node_result.problems,
                    "dependent_outputs": [],
                    "class_type": class_type,
                }
                _log_problems(f"{class_type} {node_id}", node_result.problems)
            node_errors[node_id]["dependent_outputs"].append(output)
        logging.error("Output will be ignored")
    if good_outputs:
        return Validation(None, good_outputs, node_errors)
    details = "\n".join(f"{reason['message']}: {reason['details']}" for reason in reasons)
    refusal = problem("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
    return Validation(refusal, [], node_errors)


def _validate_node(prompt: Prompt, node_id: str, results: Dict[str, _NodeResult]) -> _NodeResult:
    if node_id in results:
        return results[node_id]
    inputs = prompt[node_id]["inputs"]
    node_class = nodes.NODE_CLASS_MAPPINGS[prompt[node_id]["class_type"]]
    checked_by_class = _names_checked_by_class(node_class)
    problems: List[Problem] = []
    links_valid = True
    for name, category, input_type, options in declared_inputs(node_class):
        if name not in inputs:
            if category == "required":
                problems.append(
                    problem("required_input_missing", "Required input is missing", name, {"input_name": name})
                )
            continue
        value = inputs[name]
        facts = {"input_name": name, "input_config": (input_type, options)}
        if is_link(value):
            wrong, source_valid = _validate_link(prompt, name, input_type, value, facts, results)
            links_valid = links_valid and source_valid
        else:
            wrong, inputs[name] = _validate_constant(name, input_type, options, value, facts, name in checked_by_class)
        problems += [wrong] if wrong else []
    problems += _ask_class(node_class, inputs, checked_by_class)
    results[node_id] = _NodeResult(links_valid and not problems, problems)
    return results[node_id]


def declared_inputs(node_class: Any) -> List[Tuple[str, str, Any, Dict[str, Any]]]:
    """Name, `required` or `optional`, type and options of each input that a workflow may set."""
    declared = node_class.INPUT_TYPES()
    return [
        (name, category, declaration[0], declaration[1] if len(declaration) > 1 else {})
        for category in ("required", "optional")
        for name, declaration in declared.get(category, {}).items()
    ]


def _validate_link(
    prompt: Prompt, name: str, input_type: Any, link: Any, facts: Dict[str, Any], results: Dict[str, _NodeResult]
) -> Tuple[Optional[Problem], bool]:
    """The link's own problem, and whether the node that it leads to is valid."""
    if len(link) != 2:
        message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        return problem("bad_linked_input", message, name, {**facts, "received_value": link}), True
    source, index = link
    received_type = nodes.NODE_CLASS_MAPPINGS[prompt[source]["class_type"]].RETURN_TYPES[index]
    if not _types_fit(received_type, input_type):
        details = f"{name}, received_type({received_type}) mismatch input_type({input_type})"
        extra = {**facts, "received_type": received_type, "linked_node": link}
        return problem("return_type_mismatch", "Return type mismatch between linked nodes", details, extra), True
    try:
        return None, _validate_node(prompt, source, results).valid
    except Exception as error:
        kind, message = "exception_during_inner_validation", "Exception when validating inner node"
        extra = {**facts, "exception_message": str(error), "linked_node": link}
        results[source] = _NodeResult(False, [_raised(kind, message, error, extra)])
        return None, False


def _validate_constant(
    name: str, input_type: Any, options: Dict[str, Any], value: Any, facts: Dict[str, Any], checked_by_class: bool
) -> Tuple[Optional[Problem], Any]:
    """The constant's problem, if any, and the constant as its declared type."""
    try:
        if isinstance(input_type, str) and input_type in _CONVERSIONS:
            value = _CONVERSIONS[input_type](value)
    except (TypeError, ValueError) as error:
        message = f"Failed to convert an input value to a {input_type} value"
        extra = {**facts, "received_value": value, "exception_message": str(error)}
        return problem("invalid_input_type", message, f"{name}, {value}, {error}", extra), value
    if checked_by_class:
        return None, value
    extra = {**facts, "received_value": value}
    if "min" in options and value < options["min"]:
        return problem(
            "value_smaller_than_min", f"Value {value} smaller than min of {options['min']}", name, extra
        ), value
    if "max" in options and value > options["max"]:
        return problem(
            "value_bigger_than_max", f"Value {value} bigger than max of {options['max']}", name, extra
        ), value
    choices = options.get("options") if input_type == "COMBO" else input_type
    if isinstance(choices, (list, tuple)) and value not in choices:
        shown = str(choices)
        if len(choices) > _LONGEST_LIST:
            shown, extra["input_config"] = f"(list of length {len(choices)})", None
        return problem("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}", extra), value
    return None, value


def _types_fit(received: Any, expected: Any) -> bool:
    if "*" in (received, expected) or received == expected:
        return True
    if isinstance(received, str) and isinstance(expected, str):
        return set(received.split(",")) <= set(expected.split(","))
    return False


def _names_checked_by_class(node_class: Any) -> List[str]:
    """The inputs that a class's own `VALIDATE_INPUTS` takes; ComfyUI then leaves them alone."""
    check = getattr(node_class, "VALIDATE_INPUTS", None)
    if check is None:
        return []
    specification = inspect.getfullargspec(check)
    names = [name for name in specification.args if name != "cls"]
    return [name for name, *_ in declared_inputs(node_class)] if specification.varkw else names


def _ask_class(node_class: Any, inputs: Dict[str, Any], names: List[str]) -> List[Problem]:
    values = {name: inputs[name] for name in names if name in inputs and not is_link(inputs[name])}
    if not names or not values:
        return []
    answer = node_class.VALIDATE_INPUTS(**values)
    if answer is True:
        return []
    reason = "" if answer is False else f" - {answer}"
    return [
        problem("custom_validation_failed", "Custom validation failed for node", name + reason, {"input_name": name})
        for name in values
    ]


def _raised(kind: str, message: str, error: Exception, extra: Optional[Dict[str, Any]] = None) -> Problem:
    facts = {"exception_type": type_name(error), "traceback": traceback.format_tb(error.__traceback__)}
    return problem(kind, message, str(error), {**(extra or {}), **facts})


def type_name(error: BaseException) -> str:
    module = type(error).__module__
    return type(error).__qualname__ if module == "builtins" else f"{module}.{type(error).__qualname__}"


def _log_problems(where: str, problems: List[Problem]) -> None:
    logging.error(f"* {where}:")
    for one in problems:
        logging.error(f"  - {one['message']}: {one['details']}")
