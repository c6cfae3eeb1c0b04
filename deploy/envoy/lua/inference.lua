-- Names the model of a ModelInfer call, before its route is chosen, by what the message itself says.
--
-- Reads every top-level field, and the last model_name and model_version win, as in Triton: a filter that trusted the
-- first would let a message that names two models go round the policy of one of them. What cannot be read here goes
-- to the slow door from the ingress and is refused on the mesh. The scope is set last: an error anywhere leaves the
-- default scope in force, and that one denies.

local byte, sub, find = string.byte, string.sub, string.find
local WINDOW = 4096
local LONGEST_NAME, LONGEST_KEY = 127, 1024
local KEY = "x-penstock-routing-key"

local function respond(handle, status, message)
  handle:respond({
    [":status"] = "200",
    ["content-type"] = "application/grpc",
    ["grpc-status"] = status,
    ["grpc-message"] = message,
  })
end

local function refuse_key(handle, message)
  handle:headers():remove(KEY)  -- it may not be fit for the record either
  respond(handle, "3", "x-penstock-routing-key " .. message)
end

-- The last model_name and model_version of a message in `body`, nil where it has none; or false when it is no
-- well-formed message. Only tags and lengths are read of fields that are neither: tensors are never copied.
local function read_names(body, size)
  local from = 5  -- bytes of the body before the window
  local window = body:getBytes(from, size - from < WINDOW and size - from or WINDOW)
  local at = 1  -- in the window
  local name, version

  local function varint()
    local value, scale = 0, 1
    for _ = 1, 10 do
      local b = byte(window, at)
      if not b then return nil end
      at = at + 1
      if b < 128 then return value + b * scale end
      value = value + (b - 128) * scale
      scale = scale * 128
    end
    return nil
  end

  while from + at - 1 < size do
    if at > WINDOW - 20 then
      from = from + at - 1
      window = body:getBytes(from, size - from < WINDOW and size - from or WINDOW)
      at = 1
    end
    local tag = varint()
    -- a decoder that keeps 32 bits would see another field in a longer tag than we do
    if not tag or tag < 8 or tag >= 4294967296 then return false end
    local wire = tag % 8
    if wire == 2 then
      local length = varint()
      if not length or from + at - 1 + length > size then return false end
      if tag == 10 or tag == 18 then
        local text
        if at + length - 1 <= #window then
          text = sub(window, at, at + length - 1)
        elseif length > LONGEST_NAME then
          text = "?"  -- too long for any model: the text does not matter any more
        else
          text = body:getBytes(from + at - 1, length)
        end
        if tag == 10 then name = text else version = text end
      end
      at = at + length
    elseif wire == 0 then
      if not varint() then return false end
    elseif wire == 1 then
      at = at + 8
    elseif wire == 5 then
      at = at + 4
    else
      return false
    end
  end
  if from + at - 1 ~= size then return false end
  return name, version
end

local function is_utf8(text)
  local at = 1
  while at <= #text do
    local first = byte(text, at)
    local more = first < 0x80 and 0 or first < 0xC2 and -1 or first < 0xE0 and 1 or first < 0xF0 and 2
      or first < 0xF5 and 3 or -1
    if more < 0 then return false end
    for n = 1, more do
      local b = byte(text, at + n)
      local low = n == 1 and (first == 0xE0 and 0xA0 or first == 0xF0 and 0x90) or 0x80
      local high = n == 1 and (first == 0xED and 0x9F or first == 0xF4 and 0x8F) or 0xBF
      if not b or b < low or b > high then return false end
    end
    at = at + more + 1
  end
  return true
end

-- Whether the call may go on with its routing key, or without one.
local function accept_key(handle, headers)
  local key = headers:get(KEY)
  if key == nil then return true end
  if headers:getNumValues(KEY) > 1 then
    refuse_key(handle, "is given more than once")
  elseif key == "" then
    headers:remove(KEY)  -- else everyone without a key would share one bucket
    return true
  elseif #key > LONGEST_KEY then
    refuse_key(handle, "has " .. #key .. " bytes; at most " .. LONGEST_KEY .. " are allowed")
  elseif find(key, "%c") or (find(key, "[\128-\255]") and not is_utf8(key)) then
    refuse_key(handle, "must be UTF-8 without control characters")
  else
    return true
  end
  return false
end

local function unreadable(handle, headers)
  if headers:get("x-penstock-door") == "mesh" then
    respond(handle, "12", "the mesh takes one uncompressed ModelInferRequest")
  else
    headers:replace("x-penstock-door", "slow")
    handle:clearRouteCache()
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if not accept_key(handle, headers) then return end
  local body = handle:body()
  headers = handle:headers()  -- a wrapper does not survive the wait for the body
  local size = body and body:length() or 0
  local readable, name, version = false, nil, nil
  if size >= 5 then
    local flag, a, b, c, d = byte(body:getBytes(0, 5), 1, 5)
    if flag == 0 and ((a * 256 + b) * 256 + c) * 256 + d == size - 5 then
      name, version = read_names(body, size)
      readable = name ~= false
    end
  end
  if not readable then return unreadable(handle, headers) end
  if not name or name == "" then return respond(handle, "3", "model_name is missing") end
  if #name > LONGEST_NAME or not find(name, "^%w[%w_.-]*$") then
    return respond(handle, "5", "no model can have the name that was given")
  end
  if version and version ~= "" then
    headers:replace("x-penstock-pin", find(version, "^[%w_.-]+$") and #version <= LONGEST_NAME and version or "?")
  end
  headers:replace("x-penstock-scope", name)
  handle:clearRouteCache()
end
