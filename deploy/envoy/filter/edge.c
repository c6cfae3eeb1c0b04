#include "edge.h"

#include <stdio.h>
#include <string.h>

#include "call.h"
#include "identifier.h"
#include "inference.h"
#include "key.h"
#include "pages.h"
#include "quota.h"
#include "token.h"

#define API_KEY TEXT("x-penstock-api-key")
#define AUTHORIZATION TEXT("authorization")
#define REQUEST_ID TEXT("x-request-id")
#define TAG TEXT("x-client-request-id")
#define NOBODY TEXT("anonymous")
#define SCOPE TEXT("x-penstock-scope")

// Envoy lets 100 headers in and 96 KiB, and cuts the others off without a word
enum { MOST_HEADERS = 128, MOST_HEADER_BYTES = 60 << 10, LONGEST_TAG = 128, LONGEST_FAULT = 100 };

typedef struct {
  header of[MOST_HEADERS];
  size_t count;
} headers;

static bool begins(view text, view prefix) {
  return text.length >= prefix.length && memcmp(text.ptr, prefix.ptr, prefix.length) == 0;
}

static bool is(view text, view other) { return text.length == other.length && begins(text, other); }

static view name_of(const header *one) { return (view){(char *)one->key, one->key_length}; }

static view value_of(const headers *all, view name) {
  for (size_t n = 0; n < all->count; n++) {
    if (is(name_of(&all->of[n]), name)) return (view){(char *)all->of[n].value, all->of[n].value_length};
  }
  return (view){NULL, 0};
}

// Whether it begins so, which is in small letters, whatever letters it has.
static bool begins_as(view authorization, view wanted) {
  if (authorization.length < wanted.length) return false;
  for (size_t n = 0; n < wanted.length; n++) {
    char letter = authorization.ptr[n];
    if ((letter >= 'A' && letter <= 'Z' ? letter + ('a' - 'A') : letter) != wanted.ptr[n]) return false;
  }
  return true;
}

static bool is_bearer(view authorization) { return begins_as(authorization, TEXT("bearer penstock_")); }

// Whether callers may not say it. Of Envoy's own headers two may be there by now, which it has set or which nobody reads.
static bool is_internal(const header *one) {
  view name = name_of(one);
  if (is(name, AUTHORIZATION)) return is_bearer((view){(char *)one->value, one->value_length});
  if (name.length == 0 || name.ptr[0] != 'x') return false;
  if (begins(name, TEXT("x-penstock-"))) {
    return !is(name, TEXT("x-penstock-routing-key")) && !is(name, TEXT("x-penstock-priority"));
  }
  if (begins(name, TEXT("x-envoy-"))) {
    return !is(name, TEXT("x-envoy-internal")) && !is(name, TEXT("x-envoy-external-address"));
  }
  return is(name, TAG);
}

static bool look(void *envoy, headers *all) {
  all->count = envoy_dynamic_module_callback_http_get_headers_size(envoy, REQUEST_HEADERS);
  return all->count <= MOST_HEADERS &&
         envoy_dynamic_module_callback_http_get_headers(envoy, REQUEST_HEADERS, all->of);
}

static size_t bytes_of(const headers *all) {
  size_t bytes = 0;
  for (size_t n = 0; n < all->count; n++) bytes += all->of[n].key_length + all->of[n].value_length;
  return bytes;
}

static bool check_size(void *envoy, size_t bytes) {
  if (bytes <= MOST_HEADER_BYTES) return true;
  const char *reason = "REQUEST_TOO_LARGE", *fault = "the headers have more than 61440 bytes";
  if (is_grpc(envoy)) {
    refuse(envoy, RESOURCE_EXHAUSTED, reason, fault);
  } else {
    refuse_plainly(envoy, 431, (view){(char *)fault, strlen(fault)}, (view){(char *)reason, strlen(reason)}, NULL, 0);
  }
  return false;
}

// Removes one of them: after that Envoy's headers have to be looked at again.
static bool remove_internal(void *envoy, const headers *all) {
  for (size_t n = 0; n < all->count; n++) {
    if (!is_internal(&all->of[n])) continue;
    // by a scope of the caller's Envoy has chosen a route already, which would be in the record of a refusal
    if (is(name_of(&all->of[n]), SCOPE)) envoy_dynamic_module_callback_http_clear_route_cache(envoy);
    remove_header(envoy, name_of(&all->of[n]));
    return true;
  }
  return false;
}

typedef enum { KNOWN, NO_KEY, UNKNOWN_KEY, BAD_TOKEN, UNNAMED_TOKEN, FOREIGN_TOKEN } standing;

// A caller by token, and why Envoy took none of it; copies, since headers are gone once they are taken away.
typedef struct {
  bearer by;
  char fault[LONGEST_FAULT];
} presented;

// What `jwt_authn` has verified it has taken away and made these headers of; what it has not is still there.
static standing identify_by_token(const access *known, const headers *all, presented *made, const caller **who) {
  claims said = {
      .issuer = value_of(all, TEXT("x-penstock-token-issuer")),
      .tenant = value_of(all, TEXT("x-penstock-token-tenant")),
      .principal = value_of(all, TEXT("x-penstock-token-principal")),
      .roles = value_of(all, TEXT("x-penstock-token-roles")),
  };
  if (said.issuer.ptr == NULL && !begins_as(value_of(all, AUTHORIZATION), TEXT("bearer "))) return NO_KEY;
  view fault = value_of(all, TEXT("x-penstock-token-fault"));
  if (fault.length == 0) fault = TEXT("it is none that a known issuer has signed");
  snprintf(made->fault, sizeof made->fault, "the token is not accepted: %.*s", (int)fault.length, fault.ptr);
  verdict of = read_claims(known, &said, &made->by);
  *who = of == TAKEN ? &made->by.who : NULL;
  return of == TAKEN ? KNOWN : of == UNNAMED ? UNNAMED_TOKEN : of == FOREIGN ? FOREIGN_TOKEN : BAD_TOKEN;
}

// A key goes before a token.
static standing identify(const access *known, const headers *all, presented *made, const caller **who) {
  *who = local_caller(known);
  if (!asks_for_keys(known)) return KNOWN;
  view key = value_of(all, API_KEY), bearer = value_of(all, AUTHORIZATION);
  if (key.ptr == NULL && is_bearer(bearer)) key = (view){bearer.ptr + 7, bearer.length - 7};
  *who = key.ptr == NULL ? NULL : caller_with(known, key);
  if (*who != NULL) return KNOWN;
  if (key.ptr != NULL) return UNKNOWN_KEY;
  return takes_tokens(known) ? identify_by_token(known, all, made, who) : NO_KEY;
}

// Whether it is only a browser that asks before its page calls; if so, that has been answered.
static bool is_preflight(void *envoy, headers *all, view origin) {
  if (!look(envoy, all) || !is(value_of(all, TEXT(":method")), TEXT("OPTIONS"))) return false;
  if (value_of(all, TEXT("access-control-request-method")).ptr == NULL) return false;
  answer_preflight(envoy, origin, value_of(all, TEXT("access-control-request-headers")));
  return true;
}

// What anybody may ask: whether we are there, and what may be asked.
static bool is_open(const headers *all) {
  view path = value_of(all, TEXT(":path"));
  return is(path, TEXT("/grpc.health.v1.Health/Check")) || is(path, TEXT("/health")) || is(path, TEXT("/openapi.json")) ||
         begins(path, TEXT("/v2/health/"));
}

// Whether it has a line in the file of records, as the listener has it.
static bool is_recorded(const headers *all) {
  view path = value_of(all, TEXT(":path")), last = TEXT("Infer");
  return path.length >= last.length && !memcmp(path.ptr + path.length - last.length, last.ptr, last.length);
}

// Whether its routing key is one that nobody needs to look at again, or there is none.
static bool has_fit_key(const headers *all) {
  char fault[FAULT_ROOM];
  view key = {NULL, 0};
  for (size_t n = 0; n < all->count; n++) {
    if (!is(name_of(&all->of[n]), TEXT("x-penstock-routing-key"))) continue;
    if (key.ptr != NULL) return false;
    key = (view){(char *)all->of[n].value, all->of[n].value_length};
    if (key.length == 0 || !is_key(key, fault)) return false;
  }
  return true;
}

static void know(visit *made, view path, view type) {
  made->infers = is_inference(path, type);
  made->grpc = is_grpc_type(type);
}

static void set_tag(void *envoy, view tag, visit *made) {
  char kept[LONGEST_TAG];
  size_t size = tag.length < LONGEST_TAG ? tag.length : LONGEST_TAG;
  made->tagged = size > 0;
  if (size == 0) return;
  // a copy, since what it points to is gone once a header is set; without what separates the fields of a record
  for (size_t n = 0; n < size; n++) kept[n] = (unsigned char)tag.ptr[n] < ' ' || tag.ptr[n] == 0x7F ? '?' : tag.ptr[n];
  add_header(envoy, TAG, (view){kept, size});
}

static bool set_id(void *envoy) {
  char id[ID_LENGTH];
  if (!new_id(id)) return false;
  set_header(envoy, REQUEST_ID, (view){id, sizeof id});
  return true;
}

// Without roles a service takes a call for the local administrator's: where keys are asked for nobody is to have none.
static void set_identity(void *envoy, const access *known, const caller *who) {
  add_header(envoy, TEXT("x-penstock-tenant"), who == NULL ? NOBODY : who->tenant);
  add_header(envoy, TEXT("x-penstock-principal"), who == NULL ? NOBODY : who->principal);
  if (asks_for_keys(known)) add_header(envoy, TEXT("x-penstock-roles"), who == NULL ? TEXT("none") : who->roles);
}

static bool refuse_caller(void *envoy, const gate *of, view origin, int status, const char *reason, const char *message) {
  header said[PAGE_HEADERS];
  size_t more = page_headers(origin, said);
  view label = {(char *)reason, strlen(reason)};
  envoy_dynamic_module_callback_http_filter_increment_counter(envoy, of->refusals, &label, 1, 1);
  refuse_with(envoy, status, reason, message, said, more);
  return false;
}

static bool refuse_stranger(void *envoy, const gate *of, standing is_known, view origin, const char *fault) {
  switch (is_known) {
    case BAD_TOKEN: return refuse_caller(envoy, of, origin, UNAUTHENTICATED, "TOKEN_INVALID", fault);
    case UNNAMED_TOKEN:
      fault = "the token's claims do not say its tenant and principal, or not as names that callers can have";
      return refuse_caller(envoy, of, origin, UNAUTHENTICATED, "TOKEN_CLAIM_MISSING", fault);
    case FOREIGN_TOKEN:
      fault = "the token's issuer may not speak for the tenant that it names";
      return refuse_caller(envoy, of, origin, PERMISSION_DENIED, "TENANT_NOT_ALLOWED", fault);
    case UNKNOWN_KEY:
      fault = "the API key is not known, or was revoked";
      return refuse_caller(envoy, of, origin, UNAUTHENTICATED, "API_KEY_UNKNOWN", fault);
    default:
      fault = takes_tokens(of->known) ? "an API key or a token is required: send it as x-penstock-api-key or as a bearer token"
                                      : "an API key is required: send it as x-penstock-api-key";
      return refuse_caller(envoy, of, origin, UNAUTHENTICATED, "API_KEY_REQUIRED", fault);
  }
}

static bool admit(void *envoy, const gate *of, const caller *who, visit *made) {
  if (!who->infers) {
    const char *which = "an inference needs one of the roles: admin, caller, engineer";
    return refuse_caller(envoy, of, made->origin, PERMISSION_DENIED, "ROLE_REQUIRED", which);
  }
  return take_tokens(envoy, of->limited, who, made->origin, &made->nearest, &made->left);
}

bool edge_on_headers(void *envoy, const gate *of, visit *made) {
  headers all;
  const caller *who = NULL;
  made->seen = true;
  if (!look(envoy, &all)) {
    refuse(envoy, RESOURCE_EXHAUSTED, "INVALID_REQUEST", "too many headers");
    return false;
  }
  view origin = value_of(&all, TEXT("origin"));
  bool page = origin.ptr != NULL;
  made->origin = allowed_origin(of->known, origin);
  bool foreign = page && !asks_for_keys(of->known) && made->origin.ptr == NULL &&
                 !is_own_page(origin, value_of(&all, TEXT(":authority")));
  presented shown;
  standing is_known = identify(of->known, &all, &shown, &who);
  // before a header is set, after which none of these is to be looked at
  bool open = is_open(&all), recorded = is_recorded(&all);
  bool metered = is_metered(value_of(&all, TEXT(":path")), value_of(&all, TEXT(":method")));
  bool fits = has_fit_key(&all);
  size_t bytes = bytes_of(&all);
  know(made, value_of(&all, TEXT(":path")), value_of(&all, TEXT("content-type")));
  while (remove_internal(envoy, &all)) look(envoy, &all);
  set_tag(envoy, value_of(&all, REQUEST_ID), made);
  if (!set_id(envoy)) {
    refuse(envoy, INTERNAL, "INTERNAL", "no id could be made for the request");
    return false;
  }
  set_identity(envoy, of->known, who);
  // only now: whatever is answered has a record, and no record is to have what a caller says of itself
  if ((recorded && !fits && !check_key(envoy)) || !check_size(envoy, bytes)) return false;
  if (page && is_preflight(envoy, &all, made->origin)) return false;
  if (foreign) {  // a developer's browser would let any page in: no key keeps it out
    const char *how = "pages of this origin may not call: it is not among PENSTOCK_ALLOWED_ORIGINS";
    return refuse_caller(envoy, of, made->origin, PERMISSION_DENIED, "ORIGIN_NOT_ALLOWED", how);
  }
  if (is_known == KNOWN || (is_known == NO_KEY && open)) {
    return who == NULL || !metered || admit(envoy, of, who, made);
  }
  return refuse_stranger(envoy, of, is_known, made->origin, shown.fault);
}

bool edge_on_second_hop(void *envoy, visit *made) {
  remove_header(envoy, SCOPE);
  remove_header(envoy, TEXT("x-penstock-door"));
  remove_header(envoy, TEXT("x-penstock-chain"));
  remove_header(envoy, TEXT("x-penstock-pin"));
  know(made, header_of(envoy, TEXT(":path"), NULL), header_of(envoy, TEXT("content-type"), NULL));
  return check_key(envoy);
}

// What Envoy has refused by itself, before any filter saw it, has a record too: nothing in it is to be the caller's word.
static void disown(void *envoy) {
  headers all;
  while (look(envoy, &all) && remove_internal(envoy, &all));
  remove_header(envoy, TEXT("x-penstock-routing-key"));
  if (!set_id(envoy)) remove_header(envoy, REQUEST_ID);
  set_header(envoy, TEXT("x-penstock-tenant"), NOBODY);
  set_header(envoy, TEXT("x-penstock-principal"), NOBODY);
}

void edge_on_answer(void *envoy, const visit *made, bool always) {
  if (!made->seen) disown(envoy);
  if (made->origin.ptr != NULL) tell_page(envoy, made->origin);
  if (made->nearest != NULL && made->left.left < made->nearest->burst / 2) tell_quota(envoy, made->nearest, made->left);
  view status = answer_header_of(envoy, TEXT("grpc-status"));
  bool failed = status.ptr != NULL && !is(status, TEXT("0"));
  if (!made->tagged && !failed && !always) return;
  view id = header_of(envoy, REQUEST_ID, NULL);
  if (id.ptr != NULL) set_answer_header(envoy, REQUEST_ID, id);
}
