//! Every line the simulated controller can write, one row each.
//!
//! The rows are the real controller's: taken from its logs, from its catalogue of messages, or (later versions) from
//! its own calls. `tests/fixtures/shapes` is the independent list; a test proves this table is within it.

use super::line::{Level, Shape};

macro_rules! shapes {
    ($( $name:ident = $module:literal $level:ident $message:literal [$($key:ident)*]; )+) => {
        $(pub(crate) static $name: Shape = Shape {
            module: $module,
            level: Level::$level,
            message: $message,
            keys: &[$(stringify!($key)),*],
        };)+

        /// Every shape, in the order of a boot.
        pub static ALL: &[&Shape] = &[$(&$name),+];
    };
}

shapes! {
    // The process itself.
    STARTING = "server" Info "Starting Master Controller..." [env port nodeVersion];
    DATABASE_CONNECTED = "database" Info "Database connection successful" [];
    TASKS_STARTING = "background" Info "Starting background tasks..." [];
    TASK_HIBERNATION = "background" Info "VM hibernation task scheduled (every 5 minutes)" [];
    TASK_DESTRUCTION = "background" Info "VM destruction task scheduled (daily at 2 AM)" [];
    TASK_METRICS = "background" Info "Metrics collection task scheduled (every 10 minutes)" [];
    TASK_SESSIONS = "background" Info "Auth session cleanup task scheduled (hourly)" [];
    TASK_CREDENTIALS = "background" Info "Credential validation task scheduled (every 6 hours)" [];
    TASK_HEALTH = "background" Info "VM health check task scheduled (every minute)" [];
    TASKS_STARTED = "background" Info "All background tasks started" [totalTasks];
    STARTED = "server" Info "Master Controller started" [http ws];
    POOL_READY = "vm-manager" Info "IP pool initialized from database"
        [totalIPs allocatedIPs availableIPs range allocatedVMIds];
    SIGTERM = "server" Info "SIGTERM received, shutting down gracefully..." [];
    SIGINT = "server" Info "SIGINT received, shutting down gracefully..." [];
    CRASH = "" Error "unhandledRejection: …" [error rejection date process os trace];
    CRASH_NOTED = "server" Error "Unhandled rejection" [reason promise];

    // Background tasks.
    HIBERNATION = "background" Info "Running VM hibernation check..." [];
    HIBERNATION_DONE = "background" Info "VM hibernation check complete" [idleUsers hibernated];
    METRICS_FAILED = "background" Error "Metrics collection task failed" [error];
    SESSIONS = "background" Info "Running auth session cleanup..." [];
    SESSIONS_DONE = "background" Info "Auth session cleanup complete" [staleSessions cleaned];
    VM_CRASHED = "background" Warn "VM crash detected" [vmId userId];
    VM_HEALTH_DONE = "background" Info "VM health check complete" [staleVMs crashed];

    // Requests.
    REQUEST = "server" Info "[REQUEST-ENTRY] Incoming request" [requestId method url ip];
    ACCESS_START = "" Info "POST /start …" [duration];
    ACCESS_SESSION = "" Info "GET /session/… …" [duration];
    ACCESS_CANCEL = "" Info "POST /session/…/cancel …" [duration];
    ACCESS_LIMITED = "" Info "… … 429" [duration];
    ACCESS_VMS = "" Info "GET / …" [duration];
    ACCESS_HEALTH = "" Info "GET /health …" [duration];
    ACCESS_HEARTBEAT = "" Info "POST /…/heartbeat …" [duration];
    ACCESS_VM = "" Info "GET /…/vm …" [duration];
    ACCESS_PROMPT = "" Info "POST /execute …" [duration];
    ACCESS_PING = "" Info "GET /api/debug/ping …" [duration];
    CANARY = "server" Info "[CANARY] /api/debug/ping hit" [requestId];
    SESSION_STATUS_FAILED = "routes:auth" Error "Get session status failed" [error];
    PROMPT_ASKED = "routes:prompts" Info "Executing prompt" [userId provider promptLength];
    PROMPT_RUNS = "cli-streaming" Info "Executing prompt" [userId provider promptLength];
    PROMPT_DONE = "cli-streaming" Info "Prompt completed" [userId provider promptId durationMs exitCode];
    PAGE_POLL_FAILED = "routes:auth" Error "OAuth URL proxy HTTP request failed" [sessionId vmIP error];
    PAGE_POLL_ENDED = "routes:auth" Error "OAuth URL proxy failed" [sessionId error];
    NOVNC_FAILED = "routes:auth" Error "noVNC WebSocket proxy error" [error url];
    NOISE_PING = "browser-auth" Info "[WAIT-VM-READY] Ping successful, now checking Agent health" [vmIP];
    NOISE_LOG_FILE = "vm-manager" Info "[VM-CREATE] Pre-created Firecracker log file" [vmId];

    // A session begins.
    AUTH_ROUTE = "routes:auth" Info "Starting authentication" [userId provider];
    AUTH = "browser-auth" Info "Starting authentication" [userId provider];
    AUTH_DEC = "browser-auth" Info "Starting authentication" [userId provider hasWebrtcOffer];
    RETURNING_EARLY = "browser-auth" Info "[RACE-CONDITION-FIX] Returning sessionId immediately before VM creation"
        [sessionId userId provider hasWebrtcOffer];
    BACKGROUND_STARTS = "browser-auth" Info "[BACKGROUND] Starting VM creation for session" [sessionId userId provider];
    AUTH_FAILED = "browser-auth" Error "Authentication failed" [userId provider error];
    AUTH_NOT_CREATED = "browser-auth" Error "Failed to create auth session" [userId provider error];
    START_FAILED = "routes:auth" Error "Start authentication failed" [error];
    ENSURE_CLI = "browser-auth" Info "Ensuring CLI VM exists before authentication" [userId provider];
    FIND = "database" Info "[FINDBYUSERID] Query starting" [userId];
    FIND_ALL = "database" Info "[FINDBYUSERID] All VMs for user" [userId count vms];
    FIND_NONE = "database" Info "[FINDBYUSERID] Query result" [userId found];
    FIND_ONE = "database" Info "[FINDBYUSERID] Query result" [userId found vmId vmType destroyedAt];
    REUSE_CLI = "browser-auth" Info "Reusing existing CLI VM" [userId vmId status vmIP];
    NO_CLI = "browser-auth" Info "No active CLI VM found, provisioning via CLI streaming service" [userId];
    CREATE_CLI = "cli-streaming" Info "Creating CLI VM for user" [userId];
    CLI_READY = "cli-streaming" Info "VM ready" [vmIP];
    CREATE_BROWSER = "browser-auth" Info "Creating browser VM for OAuth"
        [userId provider sessionId decodoPort decodoIP decodoIPMasked];
    CREATE_BROWSER_DEC = "browser-auth" Info "[BACKGROUND] Creating browser VM for OAuth" [userId provider sessionId];

    // Creation.
    VM_STARTING = "vm-manager" Info "[VM-CREATE] Starting VM creation" [vmId userId vmType startTime];
    STEP_0 = "vm-manager" Info "[VM-CREATE] Step 0: Getting user proxy configuration" [vmId userId];
    STEP_0_DONE = "vm-manager" Info "[VM-CREATE] Step 0: Proxy config retrieved"
        [vmId userId proxyPort decodoExternalIP proxyURL willInjectToVM];
    STEP_1 = "vm-manager" Info "[VM-CREATE] Step 1: Allocating IP" [vmId];
    STEP_1_DEC = "vm-manager" Info "[VM-CREATE] Step 1: Allocating IP" [vmId userId];
    STEP_1_DONE = "vm-manager" Info "[VM-CREATE] Step 1: IP allocated" [vmId ipAddress elapsed];
    STEP_1_DONE_DEC = "vm-manager" Info "[VM-CREATE] Step 1: IP allocated"
        [vmId userId internalIP decodoPort decodoExternalIP elapsed];
    STEP_2 = "vm-manager" Info "[VM-CREATE] Step 2: Creating TAP device" [vmId];
    TAP_VNET = "vm-manager" Info "vnet_hdr enabled on TAP via helper" [tapName];
    TAP_CREATED = "vm-manager" Info "TAP device created" [vmId tapName ipAddress];
    TAP_CREATED_DEC = "vm-manager" Info "TAP device created with vnet_hdr" [vmId tapName ipAddress];
    TAP_FAILED = "vm-manager" Error "Failed to create TAP device" [vmId error];
    STEP_2_DONE = "vm-manager" Info "[VM-CREATE] Step 2: TAP device created" [vmId tapDevice elapsed];
    STEP_3 = "vm-manager" Info "[VM-CREATE] Step 3: Cloning golden snapshot" [vmId vmType];
    CLONE_TYPE = "vm-manager" Info "[CLONE-SNAPSHOT] Checking vmType for OAuth agent injection"
        [vmId vmType vmTypeType];
    CLONE_BROWSER = "vm-manager" Info
        "[CLONE-SNAPSHOT] vmType is \"browser\", proceeding with OAuth agent injection" [vmId];
    CLONE_BROWSER_DEC = "vm-manager" Info
        "[CLONE-SNAPSHOT] vmType is \"browser\", proceeding with OAuth agent + WebRTC injection" [vmId];
    CLONE_CLI = "vm-manager" Info
        "[CLONE-SNAPSHOT] vmType is NOT \"browser\", skipping OAuth agent injection" [vmId vmType];
    INJECT = "vm-manager" Info "[INJECT-AGENT] Starting OAuth agent injection" [vmId];
    INJECT_MOUNTED = "vm-manager" Info "[INJECT-AGENT] Rootfs mounted" [vmId mountPoint];
    INJECT_CLEANED = "vm-manager" Info "[INJECT-AGENT] Removed old agent directories" [vmId];
    INJECT_COPIED = "vm-manager" Info "[INJECT-AGENT] Agent files copied (including bundled Node.js)" [vmId];
    INJECT_UNITS = "vm-manager" Info "[INJECT-AGENT] Removed old service files" [vmId];
    INJECT_UNIT = "vm-manager" Info "[INJECT-AGENT] Systemd service created" [vmId];
    INJECT_ENABLED = "vm-manager" Info "[INJECT-AGENT] Service enabled" [vmId];
    INJECT_DONE = "vm-manager" Info "[INJECT-AGENT] OAuth agent injection complete" [vmId];
    INJECT_UNMOUNTED = "vm-manager" Info "[INJECT-AGENT] Rootfs unmounted" [vmId];
    INJECT_FAILED = "vm-manager" Error "[INJECT-AGENT] Failed to inject OAuth agent" [vmId error stack];
    INJECT_STUCK = "vm-manager" Warn "[INJECT-AGENT] Failed to unmount rootfs" [vmId error];
    CLONED = "vm-manager" Info "Golden snapshot cloned" [vmId vmDir];
    CLONE_FAILED = "vm-manager" Error "Failed to clone golden snapshot" [vmId error];
    STEP_3_DONE = "vm-manager" Info "[VM-CREATE] Step 3: Snapshot cloned" [vmId elapsed];
    STEP_4 = "vm-manager" Info "[VM-CREATE] Step 4: Creating VM config" [vmId];
    STEP_4_DONE = "vm-manager" Info "[VM-CREATE] Step 4: Config created" [vmId configPath elapsed];
    STEP_5 = "vm-manager" Info "[VM-CREATE] Step 5: Creating database record" [vmId];
    STEP_5_DONE = "vm-manager" Info "[VM-CREATE] Step 5: Database record created" [vmId elapsed];
    STEP_6 = "vm-manager" Info "[VM-CREATE] Step 6: Starting Firecracker" [vmId];
    FIRECRACKER_PROXY = "vm-manager" Info "[FIRECRACKER-PROXY] User proxy configured" [vmId proxyPort];
    SPAWN = "vm-manager" Info "[SPAWN-DEBUG] About to spawn Firecracker"
        [vmId binary args consoleFd errorFd consolePath errorLogPath vmDir hasProxy];
    SPAWN_FD = "vm-manager" Info "[SPAWN-DEBUG] Console FD valid" [vmId consoleFd isFile];
    SPAWN_CALL = "vm-manager" Info "[SPAWN-DEBUG] Calling spawn()" [vmId];
    SPAWNED = "vm-manager" Info "[SPAWN-DEBUG] spawn() returned" [vmId pid pidType];
    SPAWNED_NOTHING = "vm-manager" Info "[SPAWN-DEBUG] spawn() returned" [vmId pidType];
    SPAWN_ERROR = "vm-manager" Error "[SPAWN-ERROR] Firecracker spawn error"
        [vmId errorCode errorErrno errorSyscall errorPath errorMessage errorStack];
    SOCKET_POLL = "vm-manager" Info "[SOCKET-POLL] Checking for socket"
        [vmId pollCount socketPath socketExists elapsed];
    SOCKET_FOUND = "vm-manager" Info "[SOCKET-POLL] Socket detected! Setting up VM" [vmId pollCount];
    FIRECRACKER = "vm-manager" Info "Firecracker started" [vmId pid consolePath];
    FD_STUCK = "vm-manager" Warn "Failed to close FDs" [vmId error];
    STEP_6_DONE = "vm-manager" Info "[VM-CREATE] Step 6: Firecracker started" [vmId elapsed];
    CREATED = "vm-manager" Info "[VM-CREATE] VM created successfully" [vmId ipAddress vmType totalTime];
    CREATE_FAILED = "vm-manager" Error "[VM-CREATE] VM creation failed"
        [vmId userId vmType error stack elapsed failedAt];
    CREATE_FAILED_ROW = "vm-manager" Error "[VM-CREATE] VM creation failed" [vmId userId vmType error elapsed failedAt];
    CLEANING_UP = "vm-manager" Info "[VM-CREATE] Cleaning up failed VM" [vmId];
    EXITED = "vm-manager" Info "[SPAWN-EXIT] Firecracker process exited" [vmId code signal pid socketExists elapsed];
    EXITED_WELL = "vm-manager" Info "[SPAWN-EXIT] Firecracker exited normally" [vmId code signal];
    EXITED_BADLY = "vm-manager" Error "[SPAWN-EXIT] Firecracker exited with error"
        [vmId code signal errorLog consoleLog];

    // Hand-over.
    BROWSER_CREATED = "browser-auth" Info "Browser VM created successfully"
        [userId provider sessionId browserVMId browserVMIP];
    BROWSER_CREATED_DEC = "browser-auth" Info "Browser VM created successfully with WebRTC"
        [userId provider sessionId browserVMId browserVMIP];
    BROWSER_FAILED = "browser-auth" Error "BROWSER VM CREATION FAILED"
        [userId provider sessionId error stack decodoPort decodoIP];
    BROWSER_FAILED_ROW = "browser-auth" Error "BROWSER VM CREATION FAILED"
        [userId provider sessionId error decodoPort decodoIP];
    BROWSER_FAILED_DEC = "browser-auth" Error "BROWSER VM CREATION FAILED" [userId provider sessionId error stack];
    BROWSER_FAILED_ROW_DEC = "browser-auth" Error "BROWSER VM CREATION FAILED" [userId provider sessionId error];
    SESSION_ASSOCIATED = "browser-auth" Info "Session associated with browser VM" [sessionId browserVMId browserVMIP];
    REDIS_SAVED = "browser-auth" Info "[REDIS] Session saved with automatic TTL" [sessionId vmIP];
    SESSION_UPDATING = "browser-auth" Info "Updating session with Browser VM details"
        [userId provider sessionId browserVMId browserVMIP];
    SESSION_UPDATED = "browser-auth" Info "Session updated successfully" [userId provider sessionId status];
    DISPATCHED = "browser-auth" Info "Authentication flow dispatched"
        [userId provider sessionId browserVMId browserIP];
    READINESS_STARTS = "browser-auth" Info "Starting VM readiness check" [sessionId vmIP];
    BACKGROUND_FAILED = "browser-auth" Error "[BACKGROUND] VM creation and OAuth flow failed"
        [sessionId userId provider error];
    BACKGROUND_ENDED = "browser-auth" Error "Background VM creation and OAuth flow failed"
        [sessionId userId provider error];

    // The health wait.
    WAIT = "browser-auth" Info "[WAIT-VM-READY] Starting health check" [vmIP maxWaitMs];
    WAIT_UNLIMITED = "browser-auth" Info "[WAIT-VM-READY] Starting health check" [vmIP];
    WAIT_DEC = "browser-auth" Info "[WAIT-VM-READY] Starting health check" [vmIP maxWaitMs initialDelayMs];
    WAIT_GUEST = "browser-auth" Info "[WAIT-VM-READY] Waiting for guest OS services to start" [vmIP waitMs reason];
    ATTEMPT = "browser-auth" Info "[WAIT-VM-READY] Attempting health check" [vmIP elapsed url];
    ATTEMPT_FAILED = "browser-auth" Warn "[WAIT-VM-READY] Health check failed" [vmIP error code elapsed];
    ATTEMPT_TIMED_OUT = "browser-auth" Warn "[WAIT-VM-READY] Health check failed" [vmIP error elapsed];
    RESPONSE = "browser-auth" Info "[WAIT-VM-READY] Got response" [vmIP status ok];
    RESPONSE_BODY = "browser-auth" Info "[WAIT-VM-READY] Response body" [vmIP body];
    RESPONSE_BAD = "browser-auth" Warn "[WAIT-VM-READY] Response not OK" [vmIP status body];
    RETRY = "browser-auth" Info "[WAIT-VM-READY] Waiting before retry" [vmIP waitMs totalElapsed];
    VNC_CHECK = "browser-auth" Info "[WAIT-VM-READY] OAuth ready, verifying VNC RFB protocol on port 5901" [vmIP];
    VNC_OK = "browser-auth" Info "[WAIT-VM-READY] VNC RFB protocol verified!" [vmIP rfbVersion];
    VNC_DESKTOP = "browser-auth" Info "[WAIT-VM-READY] Waiting 5s for XFCE desktop to initialize" [vmIP];
    VNC_MISSING = "browser-auth" Warn
        "[WAIT-VM-READY] OAuth ready but VNC not responding with RFB protocol yet" [vmIP error];
    READY = "browser-auth" Info "[WAIT-VM-READY] VM ready!" [vmIP];
    READY_DEC = "browser-auth" Info "[WAIT-VM-READY] VM fully ready!" [vmIP];
    TIMEOUT = "browser-auth" Error "[WAIT-VM-READY] Timeout exceeded" [vmIP maxWaitMs];
    TIMEOUT_UNLIMITED = "browser-auth" Error "[WAIT-VM-READY] Timeout exceeded" [vmIP];

    // The OAuth flow.
    VM_IS_READY = "browser-auth" Info "VM is ready, updating session status and starting OAuth flow" [sessionId];
    OAUTH_STARTED_DEC = "browser-auth" Info "OAuth flow started successfully"
        [userId provider sessionId browserVMId browserIP];
    OAUTH = "browser-auth" Info "Executing OAuth flow" [sessionId provider vmIP];
    OAUTH_CLI = "browser-auth" Info "Starting CLI OAuth flow" [sessionId vmIP provider hasProxyConfig];
    OAUTH_CLI_DEC = "browser-auth" Info "Starting CLI OAuth flow" [sessionId vmIP provider];
    OAUTH_CLI_STARTED = "browser-auth" Info "CLI OAuth flow started" [sessionId provider hasOAuthUrl];
    OAUTH_URL = "browser-auth" Info "OAuth URL stored in database" [sessionId provider];
    OAUTH_WAIT = "browser-auth" Info "Waiting for user to complete OAuth flow" [sessionId provider];
    OAUTH_POLL = "browser-auth" Info "Credentials status check" [sessionId provider authenticated elapsed];
    OAUTH_COMPLETED = "browser-auth" Info "OAuth completed, retrieving credentials" [sessionId provider];
    CREDENTIALS_ASKED = "browser-auth" Info "Retrieving credentials from OAuth agent" [sessionId provider];
    CREDENTIALS = "browser-auth" Info "Credentials retrieved successfully" [sessionId provider hasCredentials];
    CREDENTIALS_STORED = "browser-auth" Info "Credentials stored" [userId provider];
    CREDENTIALS_LOST = "browser-auth" Error "Failed to store credentials" [userId provider error];
    TRANSFER = "browser-auth" Info "Transferring credentials to CLI VM" [userId provider];
    TRANSFER_FIND = "browser-auth" Info "[TRANSFER] About to call findByUserId" [userId];
    TRANSFER_FOUND = "browser-auth" Info "[TRANSFER] findByUserId returned" [found vmId];
    TRANSFER_CLI = "browser-auth" Info "CLI VM found - transferring credentials" [userId provider vmId vmStatus];
    TRANSFER_WRITTEN = "browser-auth" Info "Credentials written directly to VM filesystem"
        [userId provider vmId vmPath hostPath];
    TRANSFERRED = "browser-auth" Info "Credentials transferred successfully" [userId provider vmId];
    COMPLETED = "browser-auth" Info "Authentication completed" [userId provider sessionId];
    FLOW_FAILED = "browser-auth" Error "Authentication flow failed" [userId provider sessionId error];
    FAILURE_LOST = "browser-auth" Warn "Failed to persist auth session failure status" [sessionId error];
    CANCELLED = "browser-auth" Info "Auth session cancelled" [sessionId];
    CANCELLED_ROUTE = "routes:auth" Info "Auth session cancelled" [sessionId];

    // The VM's end.
    DESTROYING_DEC = "browser-auth" Info "Destroying browser VM immediately" [sessionId vmId finalStatus gracePeriodMs];
    DESTROYED_DEC = "browser-auth" Info "Browser VM destroyed immediately" [sessionId vmId];
    DESTROY = "vm-manager" Info "Destroying VM" [vmId];
    DESTROY_DEC = "vm-manager" Info "Destroying VM" [vmId preserveLogs];
    TAP_REMOVED = "vm-manager" Info "TAP device removed" [vmId tapName];
    CONSOLE_KEPT = "vm-manager" Info "[CLEANUP] Console log preserved for debugging" [vmId originalPath archivedPath];
    DIRECTORY_REMOVED = "vm-manager" Info "[CLEANUP] VM directory removed" [vmId];
    DESTROYED = "vm-manager" Info "VM destroyed successfully" [vmId];
    DESTROY_FAILED = "vm-manager" Error "VM destruction failed" [vmId error];
    CLEANUP_FAILED = "browser-auth" Warn "Failed to cleanup browser VM" [sessionId vmId error];
    CLEANUP_CLI_FAILED = "browser-auth" Warn "Failed to cleanup CLI VM" [error];
}
