//! Known messages that say nothing about a boot, so that only the truly unknown ones are counted as unknown.
//!
//! From the controller's own source: every message of the versions of October to December 2025.

use std::sync::LazyLock;

use hashbrown::HashSet;

/// Tags all of whose messages are known noise, or of which only the decoder's own patterns matter.
const TAGS: &[&[u8]] = &[
    b"[REQUEST-ENTRY]",
    b"[FINDBYUSERID]",
    b"[CLONE-SNAPSHOT]",
    b"[NETWORK-CONFIG]",
    b"[FIRECRACKER-PROXY]",
    b"[SPAWN-DEBUG]",
    b"[SPAWN-ERROR]",
    b"[SPAWN-EXIT]",
    b"[SOCKET-POLL]",
    b"[SESSION-MAPPING]",
    b"[SESSION-VM-LOOKUP]",
    b"[TRANSFER]",
    b"[CLEANUP]",
    b"[CANARY]",
    b"[DEBUG]",
    b"[BACKGROUND]",
    b"[RACE-CONDITION-FIX]",
    b"[RACE-FIX]",
    b"[REDIS]",
    b"[VNC-PROXY]",
    b"[WEBRTC-ROUTE]",
];

const WAIT: &[&[u8]] = &[
    b"Waiting for guest OS services to start",
    b"OAuth ready, verifying VNC RFB protocol on port 5901",
    b"VNC RFB protocol verified!",
    b"Waiting 5s for XFCE desktop to initialize",
];

const CREATE: &[&[u8]] = &[b"Cleaning up failed VM", b"Cleanup failed"];

const MESSAGES: &[&str] = &[
    // Sessions and the CLI VM that must exist first.
    "Starting authentication",
    "Start authentication failed",
    "Get session status failed",
    "Ensuring CLI VM exists before authentication",
    "No active CLI VM found, provisioning via CLI streaming service",
    "Creating CLI VM for user",
    "Allocated Decodo port",
    "Got Decodo fixed IP",
    "Failed to get Decodo fixed IP",
    "User missing Decodo proxy assignment, allocating now",
    "Failed to update session status",
    "Updating session with Browser VM details",
    "Session updated successfully",
    "Session associated with browser VM",
    "Failed to store session in database",
    "Authentication flow dispatched",
    "Starting VM readiness check",
    "VM is ready, updating session status and starting OAuth flow",
    "OAuth flow started successfully",
    "Failed to cleanup browser VM",
    "Failed to cleanup CLI VM",
    "Failed to persist auth session failure status",
    "Async authentication runner crashed",
    // The sign-in itself.
    "Starting CLI OAuth flow",
    "Credentials status check",
    "Status check failed, continuing to wait",
    "OAuth completed, retrieving credentials",
    "Retrieving credentials from OAuth agent",
    "Credentials retrieved successfully",
    "Detected Claude Code subscription",
    "Credentials stored",
    "Unknown Claude Code subscription type, storing as claude_code",
    "Failed to store credentials",
    "Transferring credentials to CLI VM",
    "CLI VM found - transferring credentials",
    "Credentials written directly to VM filesystem",
    "Credentials transferred successfully",
    "CLI VM not found - this should not happen!",
    "Credential transfer failed",
    "Failed to unmount VM rootfs",
    // Network, image, process.
    "IP allocated",
    "IP released",
    "TAP device created",
    "TAP device created with vnet_hdr",
    "vnet_hdr enabled on TAP",
    "vnet_hdr enabled on TAP via helper",
    "Failed to create TAP device",
    "TAP device removed",
    "Snapshot files copied for VM",
    "Golden snapshot files not found, skipping snapshot copy",
    "Golden snapshot cloned",
    "Failed to clone golden snapshot",
    "Firecracker started",
    "Failed to close FDs",
    "Failed to update VM status",
    "Loading snapshot via API",
    "Snapshot loaded successfully",
    "Failed to load snapshot via API",
    "Configuring network interface before snapshot load",
    "Network interface configured successfully",
    "Failed to kill Firecracker process",
    "Failed to remove TAP device",
    "Failed to remove VM directory",
    "VM destruction failed",
    "Browser VM cleaned up after grace period",
    "Scheduled VM cleanup in database",
    "Completed cleanup task",
    "Started VM cleanup task processor (5s interval)",
    "Browser VM destroyed immediately",
    "Hibernating VM",
    "VM hibernated successfully",
    "Hibernation failed",
    "Resuming VM",
    "VM resumed successfully",
    "Resume failed",
    "IP pool initialized from database",
    "Failed to query existing VMs for IP allocation",
    // Background tasks.
    "Starting background tasks...",
    "VM hibernation task scheduled (every 5 minutes)",
    "VM destruction task scheduled (daily at 2 AM)",
    "Metrics collection task scheduled (every 10 minutes)",
    "Auth session cleanup task scheduled (hourly)",
    "Credential validation task scheduled (every 6 hours)",
    "VM health check task scheduled (every minute)",
    "All background tasks started",
    "Running VM hibernation check...",
    "VM hibernation check complete",
    "Running VM destruction check...",
    "VM destruction check complete",
    "Running auth session cleanup...",
    "Auth session cleanup complete",
    "Failed to destroy stale browser VM",
    "Running credential validation...",
    "Credential validation complete",
    "VM crash detected",
    "VM appears crashed but has active sessions, keeping alive",
    "VM health check complete",
    "VM hibernation task failed",
    "VM destruction task failed",
    "Metrics collection task failed",
    "Auth session cleanup task failed",
    "Credential validation task failed",
    "VM health check task failed",
    "Failed to hibernate VM",
    "VM health check failed",
    // What the browser page's polling leaves in the log.
    "OAuth URL proxy HTTP request failed",
    "Credential status proxy HTTP request failed",
    "Open URL proxy HTTP request failed",
    "OAuth URL proxy failed",
    "Credential status proxy failed",
    "Open URL proxy failed",
    "noVNC WebSocket proxy error",
    "noVNC upgrade failed",
    "Failed to serve noVNC page",
    // The server.
    "Unhandled error",
    "Database connection successful",
    "Database connection failed",
    "Database connection failed, exiting...",
    "HTTP server closed",
    "WebSocket server closed",
    "Forced shutdown after timeout",
    "Failed to start server",
    "Unhandled rejection",
    "WebSocket connected",
    "WebSocket disconnected",
    "WebSocket error",
    "WebSocket message error",
    "Terminating inactive WebSocket",
    "System restart requested via admin API",
    "VM force destroyed by admin",
    "HTTP upgrade request received",
    "Failed to parse SSE event",
    "User created",
    "Executing prompt",
    "Prompt completed",
];

static KNOWN: LazyLock<HashSet<&'static [u8]>> =
    LazyLock::new(|| MESSAGES.iter().map(|text| text.as_bytes()).collect());

pub(super) fn is_known(text: &[u8]) -> bool {
    KNOWN.contains(text)
}

pub(super) fn is_known_tag(message: &[u8]) -> bool {
    TAGS.iter().any(|tag| message.starts_with(tag))
}

pub(super) fn is_known_wait(rest: &[u8]) -> bool {
    WAIT.iter().any(|text| rest.starts_with(text))
}

pub(super) fn is_known_create(rest: &[u8]) -> bool {
    CREATE.iter().any(|text| rest.starts_with(text))
}
