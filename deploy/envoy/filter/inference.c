#include "inference.h"

#include <string.h>

#include "call.h"
#include "key.h"
#include "message.h"

#define ROUTING_KEY TEXT("x-penstock-routing-key")
#define SCOPE TEXT("x-penstock-scope")
#define NO_MODEL TEXT("-")

enum { LARGEST_BODY = 67 << 20 };  // a tensor of 64 MiB and what is around it

bool check_key(void *envoy) {
  size_t count = 0;
  view key = header_of(envoy, ROUTING_KEY, &count);
  if (key.ptr == NULL) return true;
  char fault[FAULT_ROOM];
  if (count > 1) {
    remove_header(envoy, ROUTING_KEY);
    refuse(envoy, INVALID_ARGUMENT, "INVALID_REQUEST", "x-penstock-routing-key is given more than once");
    return false;
  }
  bool fits = is_key(key, fault);
  if (!fits || key.length == 0) remove_header(envoy, ROUTING_KEY);
  if (!fits) refuse(envoy, INVALID_ARGUMENT, "INVALID_REQUEST", fault);
  return fits;
}

static bool check_content_type(void *envoy, bool grpc) {
  if (grpc) return true;
  view text = TEXT("this is a gRPC method: content-type must be application/grpc\n");
  refuse_plainly(envoy, 415, text, TEXT("not_grpc"), NULL, 0);
  return false;
}

// What cannot be read here is for the slow door to decode. Behind it there is no other.
static bool hand_over(void *envoy, bool mesh) {
  if (mesh) {
    refuse(envoy, UNIMPLEMENTED, "INVALID_REQUEST", "the mesh takes one uncompressed ModelInferRequest");
    return false;
  }
  set_header(envoy, TEXT("x-penstock-door"), TEXT("slow"));
  inference_is_none(envoy);
  return true;
}

// Chooses the scope, and so the route. It is set last: whatever goes wrong before leaves a call without any, and so
// without a route.
static bool choose(void *envoy, const names *found) {
  if (found->model.size == 0) {
    refuse(envoy, INVALID_ARGUMENT, "INVALID_REQUEST", "model_name is missing");
    return false;
  }
  if (!found->model.fits) {
    refuse(envoy, NOT_FOUND, "ROUTE_NOT_FOUND", "no model can have the name that was given");
    return false;
  }
  if (found->version.size > 0) {
    view pin = {(char *)found->version.text, found->version.size};
    add_header(envoy, TEXT("x-penstock-pin"), found->version.fits ? pin : TEXT("?"));
  }
  // the message may grow on its way, and HTTP/2 needs no length
  remove_header(envoy, TEXT("content-length"));
  add_header(envoy, SCOPE, (view){(char *)found->model.text, found->model.size});
  envoy_dynamic_module_callback_http_clear_route_cache(envoy);
  return true;
}

void inference_is_none(void *envoy) {
  set_header(envoy, SCOPE, NO_MODEL);
  envoy_dynamic_module_callback_http_clear_route_cache(envoy);
}

static bool is(view text, view other) {
  return text.length == other.length && memcmp(text.ptr, other.ptr, other.length) == 0;
}

// As browsers speak gRPC. Envoy has a filter that turns it into gRPC, behind a listener of its own.
static bool is_grpc_web(view type) {
  view web = TEXT("application/grpc-web");
  if (type.length < web.length || memcmp(type.ptr, web.ptr, web.length) != 0) return false;
  view rest = {type.ptr + web.length, type.length - web.length};
  return rest.length == 0 || is(rest, TEXT("+proto")) || is(rest, TEXT("-text")) || is(rest, TEXT("-text+proto"));
}

bool is_inference(view path, view type) {
  return is(path, TEXT("/inference.GRPCInferenceService/ModelInfer")) && !is_grpc_web(type);
}

static bool read_call(void *envoy, bool mesh, int last) {
  body all;
  names found;
  reading outcome = CUT_SHORT;
  bool opened = open_body(envoy, last, &all);
  if (opened) outcome = read_names(all.slices, all.count, &found);
  close_body(&all);
  if (!opened) {
    refuse(envoy, RESOURCE_EXHAUSTED, "INTERNAL", "no memory to read the message in");
    return false;
  }
  if (outcome == CUT_SHORT) {
    refuse(envoy, INVALID_ARGUMENT, "INVALID_REQUEST", "the message is shorter than its frame says");
    return false;
  }
  return outcome == READ ? choose(envoy, &found) : hand_over(envoy, mesh);
}

int inference_awaited(void *envoy) {
  envoy_dynamic_module_callback_http_set_buffer_limit(envoy, LARGEST_BODY);
  return STOP_HEADERS;
}

int inference_on_headers(void *envoy, bool grpc, bool mesh, bool end) {
  if (!check_content_type(envoy, grpc)) return STOP_HEADERS;
  if (!end) return inference_awaited(envoy);
  return hand_over(envoy, mesh) ? CONTINUE_HEADERS : STOP_HEADERS;
}

int inference_on_body(void *envoy, bool mesh, bool end) {
  if (!end) return STOP_AND_BUFFER;
  return read_call(envoy, mesh, RECEIVED_BODY) ? CONTINUE_BODY : STOP_AND_DROP;
}

int inference_on_trailers(void *envoy, bool mesh) {
  return read_call(envoy, mesh, BUFFERED_BODY) ? CONTINUE_HEADERS : STOP_HEADERS;
}
