/**
 * Stand-ins for what surrounds a proxy: today the demo services of `dev`.
 *
 * Owns: programs that play the mesh's other parts. Never: being loaded by `proxy` (a dynamic import from `dev`, and
 * tests). Runs on: their own process.
 *
 * @module
 */
export { type DemoService, startDemoService } from "./demo_service.ts";
