#include "edge.h"

#include <string.h>

#include "call.h"
#include "identifier.h"

#define REQUEST_ID TEXT("x-request-id")
#define TAG TEXT("x-client-request-id")

enum { MOST_HEADERS = 128, LONGEST_TAG = 128 };  // Envoy lets 100 headers in

static bool begins(const header *one, view prefix) {
  return one->key_length >= prefix.length && memcmp(one->key, prefix.ptr, prefix.length) == 0;
}

static bool is(const header *one, view name) {
  return one->key_length == name.length && memcmp(one->key, name.ptr, name.length) == 0;
}

// Whether callers may not say it. Of Envoy's own headers two may be there by now, which it has set or which nobody reads.
static bool is_internal(const header *one) {
  if (one->key_length == 0 || one->key[0] != 'x') return false;
  if (begins(one, TEXT("x-penstock-"))) {
    return !is(one, TEXT("x-penstock-routing-key")) && !is(one, TEXT("x-penstock-priority"));
  }
  if (begins(one, TEXT("x-envoy-"))) {
    return !is(one, TEXT("x-envoy-internal")) && !is(one, TEXT("x-envoy-external-address"));
  }
  return is(one, TAG);
}

// Removes one of them: all that Envoy has shown is shown anew afterwards.
static bool remove_internal(void *envoy, const header *all, size_t count) {
  for (size_t n = 0; n < count; n++) {
    if (!is_internal(&all[n])) continue;
    remove_header(envoy, (view){(char *)all[n].key, all[n].key_length});
    return true;
  }
  return false;
}

static view tag_of(const header *all, size_t count) {
  for (size_t n = 0; n < count; n++) {
    if (is(&all[n], REQUEST_ID)) return (view){(char *)all[n].value, all[n].value_length};
  }
  return (view){NULL, 0};
}

static bool set_tag(void *envoy, view tag) {
  char kept[LONGEST_TAG];
  size_t size = tag.length < LONGEST_TAG ? tag.length : LONGEST_TAG;
  if (size == 0) return false;
  memcpy(kept, tag.ptr, size);  // what it points to is gone once a header is set
  set_header(envoy, TAG, (view){kept, size});
  return true;
}

bool edge_on_headers(void *envoy, bool *tagged) {
  header all[MOST_HEADERS];
  size_t count;
  do {
    count = envoy_dynamic_module_callback_http_get_headers_size(envoy, REQUEST_HEADERS);
    if (count > MOST_HEADERS) {
      refuse(envoy, RESOURCE_EXHAUSTED, "too many headers");
      return false;
    }
    envoy_dynamic_module_callback_http_get_headers(envoy, REQUEST_HEADERS, all);
  } while (remove_internal(envoy, all, count));
  *tagged = set_tag(envoy, tag_of(all, count));
  ids *source = own_ids();
  if (source == NULL) {
    refuse(envoy, INTERNAL, "no id could be made for the request");
    return false;
  }
  char id[ID_LENGTH];
  next_id(source, id);
  set_header(envoy, REQUEST_ID, (view){id, sizeof id});
  // authentication is off: everyone is the local administrator, which is what no other identity means
  set_header(envoy, TEXT("x-penstock-tenant"), TEXT("local"));
  return true;
}

void edge_on_second_hop(void *envoy) {
  remove_header(envoy, TEXT("x-penstock-scope"));
  remove_header(envoy, TEXT("x-penstock-door"));
  remove_header(envoy, TEXT("x-penstock-chain"));
  remove_header(envoy, TEXT("x-penstock-pin"));
}

void edge_on_answer(void *envoy, bool tagged) {
  view status = answer_header_of(envoy, TEXT("grpc-status"));
  bool failed = status.ptr != NULL && !(status.length == 1 && status.ptr[0] == '0');
  if (!tagged && !failed) return;
  view id = header_of(envoy, REQUEST_ID, NULL);
  if (id.ptr != NULL) set_answer_header(envoy, REQUEST_ID, id);
}
