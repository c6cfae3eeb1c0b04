// What is wrong with a call, for programs: a google.rpc.Status with one ErrorInfo of the domain `penstock`, in base64.

#pragma once

#include "abi.h"

enum { DETAILS_ROOM = 1024 };

// As the header grpc-status-details-bin carries it; its length is 0 where it would not fit.
view details_of(int status, const char *reason, const char *message, char room[DETAILS_ROOM]);
