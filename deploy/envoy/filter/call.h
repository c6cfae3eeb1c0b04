// A call in Envoy's hands: its headers, its body, and an answer to it.

#pragma once

#include "abi.h"

#define TEXT(literal) ((view){literal, sizeof(literal) - 1})

enum {
  INVALID_ARGUMENT = 3,
  NOT_FOUND = 5,
  PERMISSION_DENIED = 7,
  RESOURCE_EXHAUSTED = 8,
  UNIMPLEMENTED = 12,
  INTERNAL = 13,
  UNAUTHENTICATED = 16,
};

// The first value; one with ptr NULL where there is none. `count` gets how many there are; may be NULL.
view header_of(void *envoy, view name, size_t *count);
void set_header(void *envoy, view name, view value);
// One that is not there: cheaper than to set it.
void add_header(void *envoy, view name, view value);
void remove_header(void *envoy, view name);
view answer_header_of(void *envoy, view name);
void set_answer_header(void *envoy, view name, view value);
void add_answer_header(void *envoy, view name, view value);

typedef struct {
  view *slices;
  size_t count;
  view few[16];  // where the slices lie unless there are more
} body;

// All of it: what was kept back, and behind it `last`, which is RECEIVED_BODY with the last piece and BUFFERED_BODY when
// trailers end the call. False for want of memory. To be closed in any case.
bool open_body(void *envoy, int last, body *opened);
void close_body(body *opened);
// In bytes, of the same.
size_t body_size(void *envoy, int last);

// Answers the call with a gRPC status, a reason of penstock.errors.v1 and its id where it has one; a call that is no gRPC
// with the HTTP status that is nearest. `message` is ASCII. Before the route is chosen, not on the way to a server.
void refuse(void *envoy, int status, const char *reason, const char *message);
// The same, with at most 8 headers more.
void refuse_with(void *envoy, int status, const char *reason, const char *message, const header *more, size_t count);

// Whether the call is a gRPC one, as Envoy sees it.
bool is_grpc(void *envoy);
bool is_grpc_type(view type);

// Answers a call with an HTTP status.
void refuse_plainly(void *envoy, uint32_t http_status, view text, view details, const header *more, size_t count);

// Ends an attempt as INTERNAL.
void fail(void *envoy, const char *message);
